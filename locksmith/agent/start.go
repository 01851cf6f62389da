package agent

import (
	"context"
	"errors"
	"time"

	"github.com/coordd/coordd/locksmith/health"
	"github.com/coordd/coordd/locksmith/slots"
)

// start finds out what the machine was about when the last agent ended.
func (a *Agent) start(ctx context.Context, now time.Time) error {
	lookCtx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	bootID, err := a.config.Machine.BootID(lookCtx)
	if err != nil {
		return err
	}
	a.bootID = bootID
	a.recall()
	if a.config.Group == nil {
		// No record says whether this is a return: a machine that is in order passes at once.
		a.beginWatch(lookCtx, now)
		a.become(Verifying, now, "without a slot there is no record of the last reboot")
		return nil
	}
	slot, r, err := a.find(ctx)
	if errors.Is(err, slots.ErrNotHeld) {
		a.become(Idle, now)
		return nil
	}
	if err != nil {
		return err
	}
	if a.isForeign(r) {
		a.become(Idle, now, "the slot of this machine is "+r.TakenBy+"'s: "+r.Reason)
		return nil
	}
	return a.resume(lookCtx, now, slot, r)
}

// isForeign reports whether somebody else took the slot, for purposes of his own:
// it is his to give back. One who says that the machine reboots leaves the return to the agent.
func (a *Agent) isForeign(r slots.Record) bool {
	if r.TakenBy == slots.TakenByAgent {
		return false
	}
	switch r.Phase {
	case slots.Back, slots.Verifying:
		return false
	case slots.Rebooting:
		return r.BootID == a.bootID
	}
	return true
}

// resume goes on where the machine's last agent was, or begins with its return.
func (a *Agent) resume(ctx context.Context, now time.Time, slot *slots.Slot, r slots.Record) error {
	a.slot = slot
	if r.BootID != a.bootID {
		if err := a.setPhase(ctx, slots.Back, ""); err != nil {
			a.slot = nil
			return err
		}
		if a.spent == "" {
			a.spent = r.Reason
		}
		a.beginWatch(ctx, now)
		a.become(Verifying, now, "the machine was booted")
		return nil
	}
	a.wish, a.wished = r.Reason, r.Since
	const restarted = "the agent alone was restarted"
	switch {
	case r.Phase == slots.Held:
		a.beginAttempt()
		a.become(Holding, now, restarted)
	case r.Phase == slots.Draining:
		a.beginAttempt()
		a.begun = true
		a.become(Draining, now, restarted)
	case r.Phase == slots.Rebooting:
		a.beginAttempt()
		a.begun = true
		a.become(Rebooting, now, restarted)
	case r.Failed != "":
		a.beginWatch(ctx, now)
		a.become(Failed, now, r.Failed)
	default:
		a.beginWatch(ctx, now)
		a.become(Verifying, now, restarted)
	}
	return nil
}

// beginWatch begins to judge the machine's health. The deadline counts from the
// boot; where that is not known, from now.
func (a *Agent) beginWatch(ctx context.Context, now time.Time) {
	uptime, err := a.config.Machine.Uptime(ctx)
	if err != nil {
		a.config.Log.Warn("cannot tell when the machine was booted: the deadline of its health counts from now", "error", err)
	}
	a.watch = health.NewWatch(&a.config.Health, now.Add(-uptime))
}
