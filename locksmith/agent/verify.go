package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coordd/coordd/locksmith/health"
	"github.com/coordd/coordd/locksmith/slots"
)

// verify is the step of Verifying and of Failed: one look at the machine's health.
func (a *Agent) verify(ctx context.Context, now time.Time) (time.Duration, error) {
	if a.slot != nil {
		err := a.setPhase(ctx, slots.Verifying, "")
		if errors.Is(err, slots.ErrNotHeld) {
			return 0, a.returned(now, "somebody else has given the slot back")
		}
		if err != nil {
			return 0, err
		}
	}
	v, err := a.judge(ctx, now)
	switch {
	case err != nil:
		return 0, err
	case v.State == health.Healthy:
		return 0, a.release(ctx, now)
	case v.State == health.Failed && a.state == Verifying:
		return 0, a.fail(ctx, now, v.Why)
	}
	if v.Passing.IsZero() {
		a.waits(v.Why)
	} else { // without how long: each look would be news
		a.waits(fmt.Sprintf("all checks pass, and must for %v", a.config.Health.StableFor))
	}
	if a.state == Failed {
		return a.config.Poll, nil
	}
	return min(health.Interval, a.config.Poll), nil
}

// judge looks once. A healthy machine is put to work again, and is not healthy if
// that fails.
func (a *Agent) judge(ctx context.Context, now time.Time) (health.Verdict, error) {
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	report := a.config.Machine.Health(looking)
	if ctx.Err() != nil {
		return health.Verdict{}, ctx.Err()
	}
	v := a.watch.Observe(now, report)
	if v.State != health.Healthy {
		return v, nil
	}
	running, cancel := context.WithTimeout(ctx, a.config.Longest)
	defer cancel()
	err := a.config.Machine.After(running, a.toHooks(true))
	if ctx.Err() != nil {
		return health.Verdict{}, ctx.Err()
	}
	if err != nil {
		v = a.watch.Observe(now, health.Report{Results: []health.Result{{Name: "programs after the reboot", Error: err.Error()}}})
	}
	return v, nil
}

// fail records that the machine did not come back well. It keeps its slot.
func (a *Agent) fail(ctx context.Context, now time.Time, why string) error {
	if a.slot != nil {
		err := a.inStore(ctx, func(ctx context.Context) error { return a.slot.Fail(ctx, why, now) })
		if err != nil && !errors.Is(err, slots.ErrNotHeld) {
			return err
		}
	}
	a.config.Metrics.rebooted("failed")
	a.become(Failed, now, why)
	return nil
}

// release gives the slot back: as that of a good return or, after a failed one,
// without a word about how it was, so that the failure keeps counting.
func (a *Agent) release(ctx context.Context, now time.Time) error {
	if a.slot != nil {
		err := a.inStore(ctx, func(ctx context.Context) error {
			if a.state == Verifying {
				return a.slot.ReleaseReturned(ctx, now)
			}
			if err := a.slot.SetPhase(ctx, slots.Verifying, a.bootID, "healthy, though late"); err != nil {
				return err
			}
			return a.slot.Release(ctx)
		})
		if err != nil && !errors.Is(err, slots.ErrNotHeld) {
			return err
		}
		a.config.Metrics.rebooted("returned")
	}
	return a.returned(now, "the machine is back and in order")
}

func (a *Agent) returned(now time.Time, why string) error {
	a.slot, a.watch, a.wish = nil, nil, ""
	a.become(Idle, now, why)
	return nil
}
