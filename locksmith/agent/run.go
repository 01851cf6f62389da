package agent

import (
	"context"
	"time"
)

const (
	firstRetry   = 100 * time.Millisecond
	longestRetry = 10 * time.Second
	// slack is by how much a step or a pause may take longer than it should.
	slack = 30 * time.Second
)

// Run takes step after step until the reboot is under way or ctx ends; neither is
// an error. A machine that has a slot keeps it beyond the end of Run: the next
// agent of the machine takes it up. One that waits leaves the queue. What fails is
// tried again, at growing intervals of at most 10 s, and logged when it is another failure than before.
func (a *Agent) Run(ctx context.Context) {
	defer a.end()
	group := watcher{agent: a}
	defer group.stop()
	retry := firstRetry
	for a.state != Gone && ctx.Err() == nil {
		a.tell(a.longest())
		was, fault := a.state, a.fault
		idle, err := a.Step(ctx, time.Now())
		if ctx.Err() == nil {
			a.tryReport(ctx)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			a.config.Metrics.failed()
			if a.fault != fault { // what lasts for hours is said once; the status has it
				a.config.Log.Warn("will try again", "state", was.String(), "in", retry, "error", err)
			}
			a.sleep(ctx, retry, nil)
			retry = min(2*retry, longestRetry)
			continue
		default:
			group.follow(ctx, a.state == Queued)
			a.sleep(ctx, idle, group.changed)
		}
		retry = firstRetry
	}
	a.tell(slack)
}

// tryReport tells the store how the machine is. That is for people: nothing waits for it,
// and what fails is said once.
func (a *Agent) tryReport(ctx context.Context) {
	err := a.report(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil && !a.mute {
		a.config.Log.Warn("cannot report the status to the store", "error", err)
	}
	a.mute = err != nil
}

func (a *Agent) tell(within time.Duration) {
	if a.config.Tell != nil {
		a.config.Tell(a.status(), within+slack)
	}
}

// sleep waits for d, for a change of the group or of the triggers, or for the end of ctx.
func (a *Agent) sleep(ctx context.Context, d time.Duration, group <-chan struct{}) {
	if d <= 0 {
		return
	}
	d = min(d, max(a.config.Poll, longestRetry)) // who waits for hours is heard of all the same
	a.tell(d)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-group:
	case <-a.config.Changed:
	}
}

// watcher follows the slots of the agent's group while it waits for one. It begins
// before the agent asks, so that no change falls between the two.
type watcher struct {
	agent   *Agent
	cancel  context.CancelFunc // nil: it does not follow
	ended   chan struct{}
	changed chan struct{} // holds one word when the group is another than it was
}

// follow begins to follow the group, or ends it.
func (w *watcher) follow(ctx context.Context, wanted bool) {
	switch {
	case !wanted:
		w.stop()
		return
	case w.cancel != nil:
		select {
		case <-w.ended: // by an error, which was logged: the next look begins anew
			w.stop()
		default:
			return
		}
	}
	ctx, w.cancel = context.WithCancel(ctx)
	w.ended, w.changed = make(chan struct{}), make(chan struct{}, 1)
	go w.run(ctx, w.changed, w.ended)
}

func (w *watcher) run(ctx context.Context, changed chan<- struct{}, ended chan<- struct{}) {
	defer close(ended)
	for _, err := range w.agent.config.Group.Watch(ctx) {
		if err != nil {
			w.agent.config.Log.Warn("cannot watch the group", "error", err)
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// stop ends the watch and waits for its goroutine.
func (w *watcher) stop() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	<-w.ended
	w.agent.config.Metrics.queue(0)
	w.cancel, w.changed = nil, nil
}
