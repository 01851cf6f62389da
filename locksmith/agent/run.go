package agent

import (
	"context"
	"time"
)

const (
	firstRetry   = 100 * time.Millisecond
	longestRetry = 10 * time.Second
)

// Run takes step after step until the reboot is under way or ctx ends; neither is
// an error. A machine that has a slot keeps it beyond the end of Run: the next
// agent of the machine takes it up. What fails is logged and tried again, at
// growing intervals of at most 10 s.
func (a *Agent) Run(ctx context.Context) {
	retry := firstRetry
	for a.state != Gone && ctx.Err() == nil {
		idle, err := a.Step(ctx, time.Now())
		switch {
		case ctx.Err() != nil:
		case err != nil:
			a.config.Log.Warn("will try again", "state", a.state.String(), "in", retry, "error", err)
			sleep(ctx, retry)
			retry = min(2*retry, longestRetry)
			continue
		case idle == 0:
		case a.state == Waiting:
			a.awaitSlot(ctx)
		default:
			sleep(ctx, idle)
		}
		retry = firstRetry
	}
}

// awaitSlot returns when a slot of the group is free, when the reboot is no
// longer wanted, and when ctx ends. The store is watched, not asked again and
// again; only the machine is.
func (a *Agent) awaitSlot(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s, err := range a.config.Group.Watch(ctx) {
			if err != nil || s.Available() > 0 {
				watched <- err
				return
			}
		}
	}()
	defer func() { cancel(); <-ended }()
	look := time.NewTicker(a.config.Poll)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-watched:
			if err == nil {
				return
			}
			a.config.Log.Warn("cannot watch the group", "error", err)
			sleep(ctx, a.config.Poll)
			return
		case <-look.C:
			if wanted, err := a.config.Machine.Wanted(); err != nil || !wanted {
				return
			}
		}
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
