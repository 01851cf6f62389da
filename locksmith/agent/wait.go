package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/locksmith/slots"
)

// stand looks at the machine and says in which state one without a slot waits now,
// and why: Idle, Closed or Blocked; Queued if nothing on it forbids the reboot.
// It is the one look there is, before the queue, with the slot, and in the last moment.
func (a *Agent) stand(ctx context.Context, now time.Time) (stand State, why []string, err error) {
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	reasons, err := a.config.Machine.Wanted(looking)
	if ctx.Err() != nil {
		return 0, nil, ctx.Err() // what was not asked has not answered
	}
	if len(reasons) == 0 && err != nil {
		if a.wish == "" {
			return 0, nil, err
		}
		return Blocked, []string{"cannot tell whether the reboot is still wanted: " + err.Error()}, nil
	}
	a.doubt(err)
	a.setWish(reasons, now)
	if a.wish == "" {
		return Idle, []string{notWanted}, nil
	}
	if a.spent != "" {
		a.config.Metrics.blocks("spent")
		return Blocked, []string{"the machine has rebooted for this, and it is wanted still: " + a.wish}, nil
	}
	if why := a.closed(now); why != "" {
		return Closed, []string{why}, nil
	}
	for _, r := range a.config.Machine.Blocks(looking) {
		why = append(why, r.String())
		a.config.Metrics.blocks(r.Blocker)
	}
	if ctx.Err() != nil {
		return 0, nil, ctx.Err()
	}
	if len(why) > 0 {
		return Blocked, why, nil
	}
	return Queued, nil, nil
}

// doubt says that some triggers could not be asked while others want the reboot, once.
func (a *Agent) doubt(err error) {
	doubts := ""
	if err != nil {
		doubts = err.Error()
	}
	if doubts != "" && doubts != a.doubts {
		a.config.Log.Warn("cannot ask all that may want a reboot", "error", err)
	}
	a.doubts = doubts
}

func (a *Agent) setWish(reasons []string, now time.Time) {
	wish := strings.Join(reasons, "; ")
	if wish != "" && a.wish == "" {
		a.wished = now
	}
	if a.wish = wish; !a.isSpent(reasons) {
		a.spent = ""
	}
	a.config.Metrics.wants(wish != "")
	a.config.Metrics.unblock()
}

// isSpent reports whether the last return has fulfilled all of these reasons. Some of
// those that it was for may be gone, as a file in /run that the boot has removed.
func (a *Agent) isSpent(reasons []string) bool {
	isNew := func(why string) bool { return !strings.Contains("; "+a.spent+"; ", "; "+why+"; ") }
	return len(reasons) > 0 && !slices.ContainsFunc(reasons, isNew)
}

// closed asks the schedule, and returns why no reboot may start now, "" if one may.
func (a *Agent) closed(now time.Time) (why string) {
	v := a.config.Schedule.At(now, a.wished)
	a.opens = v.Next
	if v.Open {
		return ""
	}
	a.config.Metrics.blocks("window")
	return "the window is closed"
}

// wait is the step of Idle, Closed and Blocked.
func (a *Agent) wait(ctx context.Context, now time.Time) (time.Duration, error) {
	next, why, err := a.stand(ctx, now)
	if err != nil {
		return 0, err
	}
	switch {
	case next == Idle && a.state == Idle: // as before
	case next == a.state:
		a.waits(why...)
	case next == Queued && a.config.Group == nil:
		a.beginAttempt()
		a.become(Holding, now)
		return 0, nil
	default:
		a.become(next, now, why...)
	}
	if next == Queued {
		return 0, nil
	}
	return a.pause(now), nil
}

// pause is how long to wait until the next look: no longer than until the window opens.
func (a *Agent) pause(now time.Time) time.Duration {
	if opens := a.opens.Sub(now); a.state == Closed && opens > 0 {
		return min(a.config.Poll, opens)
	}
	return a.config.Poll
}

// queue is the step of Queued.
func (a *Agent) queue(ctx context.Context, now time.Time) (time.Duration, error) {
	next, why, err := a.stand(ctx, now)
	if err != nil {
		return 0, err
	}
	if next != Queued {
		if err := a.leave(ctx); err != nil {
			return 0, err
		}
		a.become(next, now, why...)
		return 0, nil
	}
	slot, err := a.acquire(ctx, now)
	switch {
	case errors.Is(err, slots.ErrNotQueued): // the lease has ended, or somebody has taken the key away
		a.queued = false
		return 0, nil
	case errors.Is(err, slots.ErrRefused):
		a.waits(err.Error())
		a.countQueue(ctx)
		return a.config.Poll, nil
	case err != nil:
		return 0, err
	}
	a.slot = slot
	a.beginAttempt()
	a.become(Holding, now)
	return 0, nil
}

// countQueue is for the metrics alone: nothing waits for the answer.
func (a *Agent) countQueue(ctx context.Context) {
	_ = a.inStore(ctx, func(ctx context.Context) error {
		s, err := a.config.Group.State(ctx)
		if err == nil {
			a.config.Metrics.queue(s.Waiting)
		}
		return err
	})
}

// acquire takes a slot if it is the machine's turn. One that the machine has
// already, though not through this agent, is refused.
func (a *Agent) acquire(ctx context.Context, now time.Time) (slot *slots.Slot, err error) {
	want, err := a.want(ctx)
	if err != nil {
		return nil, err
	}
	var r slots.Record
	if !a.queued {
		slot, r, err = a.find(ctx)
		if err == nil {
			return slot, a.refuseForeign(ctx, r)
		}
		if !errors.Is(err, slots.ErrNotHeld) {
			return nil, err
		}
		if err := a.enqueue(ctx, want); err != nil {
			return nil, err
		}
	}
	err = a.inStore(ctx, func(ctx context.Context) error {
		if slot, err = a.config.Group.AcquireInTurn(ctx, want, now); err != nil {
			return err
		}
		r, err = slot.Verify(ctx)
		return err
	})
	if errors.Is(err, slots.ErrNotHeld) {
		return nil, slots.ErrNotQueued // it was taken away as soon as it was granted: begin anew
	}
	if err != nil {
		return nil, err
	}
	if err := a.refuseForeign(ctx, r); err != nil {
		return nil, err
	}
	a.queued = false // the grant took the machine out of the queue
	return slot, nil
}

func (a *Agent) find(ctx context.Context) (slot *slots.Slot, r slots.Record, err error) {
	err = a.inStore(ctx, func(ctx context.Context) error {
		slot, r, err = a.config.Group.Find(ctx, a.config.ID)
		return err
	})
	return slot, r, err
}

// refuseForeign leaves a slot alone that is another's though the machine's id
// stands in it: an operator's, another program's, or that of a machine which was
// cloned with its id.
func (a *Agent) refuseForeign(ctx context.Context, r slots.Record) error {
	why := ""
	switch {
	case r.TakenBy != slots.TakenByAgent:
		why = fmt.Sprintf("%s holds the slot of this machine: %s", r.TakenBy, r.Reason)
	case r.BootID != a.bootID:
		why = fmt.Sprintf("a machine with this one's id holds a slot, under boot id %s", r.BootID)
	default:
		return nil
	}
	if err := a.leave(ctx); err != nil {
		return err
	}
	return &slots.RefusedError{Kind: slots.RefusedQueue, Why: why}
}

// want is the record that the machine asks for a slot with.
func (a *Agent) want(ctx context.Context) (slots.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	member, err := a.config.Machine.Member(ctx)
	c := &a.config
	return slots.Record{
		ID: c.ID, Hostname: c.Hostname, Zone: c.Zone, Stage: c.Stage, Priority: c.Priority, Member: member,
		BootID: a.bootID, TakenBy: slots.TakenByAgent, Reason: a.wish, Since: a.wished.UTC(),
	}, err
}
