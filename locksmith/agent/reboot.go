package agent

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/slots"
)

// beginAttempt begins an attempt to reboot.
func (a *Agent) beginAttempt() {
	a.grace = blocker.NewGrace(a.config.Users)
	a.begun, a.drained, a.looked = false, false, false
}

// retire ends an attempt: the machine stays up, and why.
func (a *Agent) retire(now time.Time, retreat State, failure error) {
	a.failure, a.retreat = failure, retreat
	a.become(GivingUp, now, failure.Error())
}

// ready reports whether the machine may go on towards its reboot. If not it either
// waits for idle, because people are logged in who have time left, or gives up.
func (a *Agent) ready(ctx context.Context, now time.Time) (ready bool, idle time.Duration, err error) {
	began := time.Now()
	next, why, err := a.stand(ctx, now)
	if err != nil {
		return false, 0, err
	}
	if next == Queued { // people are told a time: that of the look must not be missing in it
		next, why, idle, err = a.people(ctx, now.Add(time.Since(began).Truncate(time.Second)))
		if err != nil {
			return false, 0, err
		}
	}
	switch {
	case next == Queued:
		if idle > 0 {
			a.waits(why...)
		}
		return idle == 0, idle, nil
	case next == Blocked:
		a.retire(now, BackingOff, reasons(why))
	default:
		a.retire(now, Idle, reasons(why))
	}
	return false, 0, nil
}

// people warns those who are logged in, and returns how long they still have.
func (a *Agent) people(ctx context.Context, now time.Time) (next State, why []string, idle time.Duration, err error) {
	if !a.config.Users.Block {
		return Queued, nil, 0, nil
	}
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	sessions, err := a.config.Machine.Sessions(looking)
	if err != nil {
		return Blocked, []string{"cannot tell who is logged in: " + err.Error()}, 0, ctx.Err()
	}
	n := a.grace.Observe(now, sessions)
	switch {
	case !n.Blocked:
		return Queued, nil, 0, nil
	case n.Until.IsZero():
		return Blocked, []string{n.Why}, 0, nil
	case n.Warn:
		message := a.config.Users.Message
		if message == "" {
			message = "This machine reboots: " + a.wish
		}
		if err := a.config.Machine.Warn(looking, message, n.Until); err != nil {
			return Blocked, []string{"cannot warn those who are logged in: " + err.Error()}, 0, ctx.Err()
		}
	}
	return Queued, []string{n.Why}, min(n.Until.Sub(now), a.config.Poll), nil
}

// reasons are why a machine stays up, as an error.
type reasons []string

func (r reasons) Error() string { return strings.Join(r, "; ") }

// hold is the step of Holding.
func (a *Agent) hold(ctx context.Context, now time.Time) (time.Duration, error) {
	if ready, idle, err := a.ready(ctx, now); !ready {
		return idle, err
	}
	if ok, err := a.record(ctx, now, slots.Draining); !ok {
		return 0, err
	}
	a.begun = true
	a.become(Draining, now)
	return 0, nil
}

// record writes the phase that the machine is about to enter. If the slot is
// another's by now the machine gives up.
func (a *Agent) record(ctx context.Context, now time.Time, phase slots.Phase) (ok bool, err error) {
	if a.slot == nil {
		return true, nil
	}
	err = a.setPhase(ctx, phase, "")
	if errors.Is(err, slots.ErrNotHeld) {
		a.retire(now, BackingOff, err)
		return false, nil
	}
	return err == nil, err
}

// drain is the step of Draining. The record then says that the machine goes before
// it does, or a crash right after would look like a restart of the agent alone.
func (a *Agent) drain(ctx context.Context, now time.Time) error {
	if !a.drained {
		running, cancel := context.WithTimeout(ctx, a.config.Longest)
		err := a.config.Machine.Before(running, a.toHooks(false))
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			a.retire(now, BackingOff, err)
			return nil
		}
		a.drained = true
	}
	if ok, err := a.record(ctx, now, slots.Rebooting); !ok {
		return err
	}
	a.become(Rebooting, now)
	return nil
}

// reboot is the step of Rebooting. The look at the machine takes its time, so what
// takes none is looked at after it, in the step that reboots: window and slot.
func (a *Agent) reboot(ctx context.Context, now time.Time) (time.Duration, error) {
	if !a.looked {
		ready, idle, err := a.ready(ctx, now)
		a.looked = ready
		return idle, err
	}
	a.looked = false
	if why := a.closed(now); why != "" {
		a.retire(now, Idle, reasons{why})
		return 0, nil
	}
	if a.slot != nil {
		err := a.inStore(ctx, func(ctx context.Context) error {
			_, err := a.slot.Verify(ctx)
			return err
		})
		if errors.Is(err, slots.ErrNotHeld) {
			a.retire(now, BackingOff, err)
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, a.ask(ctx, now)
}

// ask asks for the reboot. An answer that leaves open whether the machine goes down
// must not cost it the slot.
func (a *Agent) ask(ctx context.Context, now time.Time) error {
	asking, cancel := context.WithTimeout(ctx, a.config.Longest)
	defer cancel()
	a.remember()
	err := a.config.Machine.Reboot(asking)
	switch {
	case err == nil:
		a.config.Metrics.rebooted("started")
		a.become(Gone, now)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, login1.ErrUncertain):
		a.failure, a.until = err, now.Add(askedFor)
		a.become(Asked, now, err.Error())
	default:
		a.config.Metrics.rebooted("refused")
		a.retire(now, BackingOff, err)
	}
	return nil
}

// asked is the step of Asked: the agent ends with the machine, or the machine has
// stayed up for long enough.
func (a *Agent) asked(ctx context.Context, now time.Time) (time.Duration, error) {
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	down, err := a.config.Machine.GoingDown(looking)
	if err != nil {
		return 0, err
	}
	if down || now.Before(a.until) {
		return askedPoll, nil
	}
	a.config.Metrics.rebooted("refused")
	a.retire(now, BackingOff, a.failure)
	return 0, nil
}

// staysUp is an error while a shutdown is under way, whoever wanted it: a machine that
// goes down keeps its slot. Where nobody can tell, what the agent itself has asked for decides.
func (a *Agent) staysUp(ctx context.Context) error {
	looking, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if down, err := a.config.Machine.GoingDown(looking); err == nil && down {
		return errors.New("a shutdown is under way: the slot is kept")
	}
	return ctx.Err()
}

// giveUp is the step of GivingUp. A machine that cannot be put to work again keeps
// its slot, for it is as good as down.
func (a *Agent) giveUp(ctx context.Context, now time.Time) error {
	if a.grace.Warned() {
		looking, cancel := context.WithTimeout(ctx, lookTimeout)
		err := a.config.Machine.Unwarn(looking)
		cancel()
		if err != nil {
			a.config.Log.Warn("cannot take back the warning of a reboot", "error", err)
		}
		a.grace = blocker.NewGrace(a.config.Users)
	}
	if a.begun {
		running, cancel := context.WithTimeout(ctx, a.config.Longest)
		defer cancel()
		if err := a.config.Machine.After(running, a.toHooks(false)); err != nil {
			return err
		}
		a.begun = false
	}
	if a.slot != nil {
		if err := a.staysUp(ctx); err != nil {
			return err
		}
		err := a.setPhase(ctx, slots.Held, a.failure.Error())
		if err == nil {
			err = a.inStore(ctx, a.slot.Release)
		}
		if err != nil && !errors.Is(err, slots.ErrNotHeld) {
			return err
		}
		a.slot = nil
	}
	if a.retreat == BackingOff {
		a.until = now.Add(a.config.BackOff)
	}
	a.become(a.retreat, now, a.failure.Error())
	return nil
}
