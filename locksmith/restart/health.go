package restart

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Status is how a unit is, in systemd's words.
type Status struct {
	Load       string // loaded, not-found, masked, bad-setting, error
	Active     string // active, reloading, inactive, failed, activating, deactivating
	Sub        string // of the unit's type: running, exited, auto-restart, …
	Result     string // of a service: success, exit-code, signal, timeout, …; empty for other units
	ExitStatus int32  // of a service's main process that has ended: exit code or signal
	OneShot    bool   // a service of Type=oneshot
	Invocation string // differs after every start; empty for units that never ran
}

func (s Status) String() string {
	said := []string{s.Active}
	if s.Sub != "" && s.Sub != s.Active {
		said[0] += " (" + s.Sub + ")"
	}
	if s.Result != "" && s.Result != "success" {
		said = append(said, s.Result)
	}
	if s.ExitStatus != 0 {
		said = append(said, fmt.Sprintf("status %d", s.ExitStatus))
	}
	return strings.Join(said, ", ")
}

// stability watches one unit: it is stable when it was active for a time without
// being started anew.
type stability struct {
	unit       string
	stableFor  time.Duration
	since      time.Time // when it was seen active first; zero before
	invocation string    // then
}

// observe takes one look at the unit at a time now. An error is final.
func (w *stability) observe(now time.Time, s Status) (stable bool, err error) {
	switch {
	case s.OneShot && s.Active == "inactive" && s.Result == "success":
		return true, nil // it has done its work
	case s.Active != "active" && s.Active != "reloading":
		return false, fmt.Errorf("%s did not stay active: it is %s", w.unit, s)
	case w.since.IsZero():
		w.since, w.invocation = now, s.Invocation
	case w.invocation != s.Invocation:
		return false, fmt.Errorf("%s did not stay active: it was started anew", w.unit)
	}
	return now.Sub(w.since) >= w.stableFor, nil
}

// lookInterval is the time between two looks at a unit.
const lookInterval = 500 * time.Millisecond

// awaitStable returns nil when the unit has been stable and the check passes.
func (c *Config) awaitStable(ctx context.Context, systemd Systemd) error {
	w := stability{unit: c.Unit, stableFor: c.StableFor}
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	why := fmt.Errorf("%s was not stable for %v", c.Unit, c.StableFor)
	for checked := false; ; {
		st, err := systemd.Status(ctx, c.Unit)
		if err != nil {
			return fmt.Errorf("%w: %w", why, err)
		}
		stable, err := w.observe(time.Now(), st)
		if err != nil {
			return err
		}
		if stable {
			err := c.check(ctx)
			if err == nil {
				return nil
			}
			if !checked || ctx.Err() == nil { // the one before says more than one that was cut short
				why, checked = err, true
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("%w, within %v", why, c.Deadline)
		}
	}
}

// maxCheckOutput bounds how much of a check's words an error quotes.
const maxCheckOutput = 300

func (c *Config) check(ctx context.Context) error {
	if len(c.Check) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, c.Check[0], c.Check[1:]...)
	cmd.WaitDelay = time.Second // for what it has left behind with its output open
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	said := bytes.TrimSpace(out)
	if len(said) == 0 {
		return fmt.Errorf("%s: the check %s did not pass: %w", c.Unit, c.Check[0], err)
	}
	return fmt.Errorf("%s: the check %s did not pass: %w: %q", c.Unit, c.Check[0], err, said[:min(len(said), maxCheckOutput)])
}
