// Package restart restarts a unit of systemd on one machine after another.
//
// A restart is a life of four states:
//
//	         a slot is free          the record says so         the job is done, and the
//	waiting ───────────────► held ───────────────► restarting   unit stays well ► slot given back
//	   │                      │                        │
//	   ▼ given up             ▼ given up               ▼ failed, in doubt or interrupted
//	no slot               slot given back         slot KEPT, the record says why
//
// The slot is one of package slots, so it is durable: neither a crash of this
// program nor of the machine gives it back. What is not known to be well keeps the
// slot, and so a bad release stops at the first machine, while the others wait and
// say who holds the slot and why. The slot is free again when a restart of the same
// unit on the same machine, which takes the kept slot over, has gone well, or when
// somebody unlocks it.
package restart

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/locksmith/slots"
)

// takenBy marks the records of this package.
const takenBy = "locksmithctl restart"

// storePatience bounds how long the store is asked to note or to give back what is
// over already. It is less than a unit's usual time to stop.
const storePatience = time.Minute

// Systemd is what a restart needs of the machine's service manager.
type Systemd interface {
	// Restart restarts a unit, or starts it if it does not run, and waits for the
	// end of that job. An error leaves open what has become of the unit.
	Restart(ctx context.Context, unit string) error
	// Status tells how a unit is. A unit that is not there has a Load of its own.
	Status(ctx context.Context, unit string) (Status, error)
}

// Config is one restart of one unit. All fields are needed but Zone, Member, Check
// and Report.
type Config struct {
	Client    *clientv3.Client // of the store
	Group     *slots.Group     // its slots; GroupOf names the usual one
	Unit      string           // full name, as UnitName makes it
	ID        string           // this machine's id
	Hostname  string           // for people
	Zone      string           // failure domain
	Member    string           // name in the store's cluster of a machine whose restart takes that member down
	BootID    string           // the present boot
	LockDir   string           // directory of files by which restarts on one machine exclude each other; it is made
	Wait      time.Duration    // to wait for a slot at most
	StableFor time.Duration    // how long the unit must stay active
	Deadline  time.Duration    // within which it must be restarted and have been stable; above StableFor
	Check     []string         // program and arguments that must exit with 0 at last; none: none
	// Report is told what goes on, one line each, for people. It may be nil.
	Report func(line string)
}

// GroupOf is the group that all machines' restarts of a unit share unless they are
// told otherwise.
func GroupOf(unit string) string { return "unit-" + unit }

// NotItsTurnError says that no slot came free in time. Nothing was done.
type NotItsTurnError struct {
	Group   string
	Waited  string // who had the slots, and why; empty if the store did not tell
	Because error
}

func (e *NotItsTurnError) Error() string {
	return fmt.Sprintf("restart: no slot of %s: %v: %s", e.Group, e.Because, cmp.Or(e.Waited, "the store has not answered"))
}

// Unwrap gives the end of the wait: context.DeadlineExceeded or context.Canceled.
func (e *NotItsTurnError) Unwrap() error { return e.Because }

// KeptError says that the unit is not known to be well. The machine keeps its slot.
type KeptError struct {
	Group, ID string
	Because   error
}

func (e *KeptError) Error() string {
	return fmt.Sprintf("restart: %v; %s keeps its slot of %s", e.Because, e.ID, e.Group)
}

// Unwrap gives the reason.
func (e *KeptError) Unwrap() error { return e.Because }

// Run waits for a slot, restarts the unit, watches it, and gives the slot back.
// The error is a [*NotItsTurnError] or a [*KeptError]; with any other one nothing
// was restarted and no slot is held. When ctx ends, Run gives up: without a slot as
// long as the restart was not asked for, and with the slot kept from then on.
func Run(ctx context.Context, c Config, systemd Systemd) error {
	st, err := systemd.Status(ctx, c.Unit)
	if err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	if st.Load != "loaded" {
		return fmt.Errorf("restart: %s cannot be restarted: systemd says that it is %s", c.Unit, st.Load)
	}
	waiting, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	lock, err := lockMachine(waiting, c.LockDir, c.Group.Name())
	if err != nil {
		if waiting.Err() != nil {
			return &NotItsTurnError{c.Group.Name(), "another restart in this group runs on this machine", waiting.Err()}
		}
		return err
	}
	defer lock.Close()
	slot, before, err := c.awaitTurn(waiting)
	if err != nil {
		return err
	}
	return c.begin(ctx, slot, before, systemd)
}

// begin goes from held to restarting. The record is written first, and compares the
// fence: whoever has lost the slot restarts nothing. before is the record as it was.
func (c *Config) begin(ctx context.Context, slot *slots.Slot, before slots.Record, systemd Systemd) error {
	err := slot.SetPhase(ctx, slots.Rebooting, c.BootID, c.underWay())
	switch {
	case err == nil:
		return c.finish(ctx, slot, c.renew(ctx, systemd))
	case before.Phase != slots.Held: // an earlier restart has kept it
		return &KeptError{c.Group.Name(), c.ID, fmt.Errorf("%w; before that: %s", err, cmp.Or(before.Failed, before.Note))}
	}
	return errors.Join(fmt.Errorf("restart: %w", err), c.giveBack(ctx, slot.Release))
}

// renew restarts the unit and watches it. nil means that it is well.
func (c *Config) renew(ctx context.Context, systemd Systemd) error {
	c.report(c.underWay())
	bounded, cancel := context.WithTimeout(ctx, c.Deadline)
	defer cancel()
	err := systemd.Restart(bounded, c.Unit)
	if err == nil {
		c.report("watches " + c.Unit)
		err = c.awaitStable(bounded, systemd)
	} else {
		err = c.failed(ctx, systemd, err)
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("interrupted before %s was known to be well: %w", c.Unit, err)
	}
	return err
}

// finish gives the slot back if the unit is well, and keeps it otherwise.
func (c *Config) finish(ctx context.Context, slot *slots.Slot, err error) error {
	if err != nil {
		return c.keep(ctx, slot, err)
	}
	returned := func(ctx context.Context) error { return slot.ReleaseReturned(ctx, time.Now()) }
	if err := c.giveBack(ctx, returned); err != nil {
		return &KeptError{c.Group.Name(), c.ID, fmt.Errorf("%s is well, but the slot was not given back: %w", c.Unit, err)}
	}
	c.report(c.Unit + " is well")
	return nil
}

// failed adds to the error of a restart how the unit is now.
func (c *Config) failed(ctx context.Context, systemd Systemd, why error) error {
	st, err := systemd.Status(ctx, c.Unit)
	if err != nil || st.Active == "active" {
		return why
	}
	return fmt.Errorf("%w; the unit is %s", why, st)
}

// keep writes into the record why the slot is kept.
func (c *Config) keep(ctx context.Context, slot *slots.Slot, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	if err := slot.Fail(ctx, why.Error(), time.Now()); err != nil {
		if errors.Is(err, slots.ErrNotHeld) {
			return fmt.Errorf("restart: %w; the slot had been taken away", why)
		}
		// The record says still that the restart is under way: nobody goes on.
		why = fmt.Errorf("%w (which could not be noted: %v)", why, err)
	}
	return &KeptError{c.Group.Name(), c.ID, why}
}

// giveBack releases the slot even if ctx has ended. One that was taken away needs
// no giving back.
func (c *Config) giveBack(ctx context.Context, release func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	err := release(ctx)
	if errors.Is(err, slots.ErrNotHeld) {
		c.report("the slot had been taken away")
		return nil
	}
	return err
}

func (c *Config) report(line string) {
	if c.Report != nil {
		c.Report(line)
	}
}

// underWay is the note of a record whose restart is neither done nor failed.
func (c *Config) underWay() string { return "restarts " + c.Unit }

func (c *Config) reason() string { return "restart of " + c.Unit }

// isOurs tells records of restarts of this unit. Whoever has the machine's lock
// knows that their program is no more.
func (c *Config) isOurs(r slots.Record) bool {
	return r.ID == c.ID && r.TakenBy == takenBy && r.Reason == c.reason()
}
