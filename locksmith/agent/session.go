package agent

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/locksmith/slots"
	"github.com/coordd/coordd/recipes"
)

// sessionTTL is how long a machine counts as alive, and keeps its place in the
// queue, after the store has last heard of its agent.
const sessionTTL = 60 * time.Second

// lease returns the lease of the agent's session, and begins a new one where the
// last was lost. With it go the place in the queue and the status.
func (a *Agent) lease(ctx context.Context) (clientv3.LeaseID, error) {
	if a.session != nil && a.session.Valid() == nil {
		return a.session.Lease(), nil
	}
	a.dropSession()
	err := a.inStore(ctx, func(ctx context.Context) (err error) {
		a.session, err = recipes.NewSession(ctx, a.config.Client, &recipes.SessionOptions{TTLSeconds: int64(sessionTTL / time.Second), Identity: a.config.ID})
		return err
	})
	if err != nil {
		a.session = nil
		return clientv3.NoLease, err
	}
	return a.session.Lease(), nil
}

// dropSession forgets a session that was lost.
func (a *Agent) dropSession() {
	if a.session != nil {
		a.session.Detach()
	}
	a.session, a.queued, a.told = nil, false, slots.Status{}
}

// withLease runs one write under the session's lease. When the store has lost the
// lease the next one is under another.
func (a *Agent) withLease(ctx context.Context, write func(ctx context.Context, lease clientv3.LeaseID) error) error {
	lease, err := a.lease(ctx)
	if err != nil {
		return err
	}
	err = a.inStore(ctx, func(ctx context.Context) error { return write(ctx, lease) })
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		a.dropSession()
	}
	return err
}

// enqueue enters the machine into the queue.
func (a *Agent) enqueue(ctx context.Context, want slots.Record) error {
	err := a.withLease(ctx, func(ctx context.Context, lease clientv3.LeaseID) error {
		return a.config.Group.Enqueue(ctx, lease, want)
	})
	a.queued = err == nil
	return err
}

// leave takes the machine out of the queue. A place whose entry is not known to
// have been refused is given up as well.
func (a *Agent) leave(ctx context.Context) error {
	if a.config.Group == nil || a.session == nil {
		return nil
	}
	c := &a.config
	err := a.inStore(ctx, func(ctx context.Context) error {
		return c.Group.Leave(ctx, slots.Record{ID: c.ID, Stage: c.Stage, Priority: c.Priority})
	})
	if err == nil {
		a.queued = false
	}
	return err
}

// status is what the agent says of itself.
func (a *Agent) status() slots.Status {
	c := &a.config
	s := slots.Status{
		ID: c.ID, Hostname: c.Hostname, Zone: c.Zone, Stage: c.Stage, Priority: c.Priority, BootID: a.bootID,
		State: a.state.String(), Since: a.since.UTC(), Wanted: a.wish, Version: c.Version,
	}
	if a.state != Idle {
		s.Blocked = slices.Clone(a.why)
	}
	if a.fault != "" {
		s.Blocked = append(s.Blocked, "cannot go on, and tries again: "+a.fault)
	}
	if a.state == Closed {
		s.Opens = a.opens.UTC()
	}
	return s
}

// report writes the status into the store if it is another one than is there.
func (a *Agent) report(ctx context.Context) error {
	if a.config.Group == nil {
		return nil
	}
	s := a.status()
	if a.session != nil && a.session.Valid() == nil && reflect.DeepEqual(s, a.told) {
		return nil
	}
	err := a.withLease(ctx, func(ctx context.Context, lease clientv3.LeaseID) error {
		return a.config.Group.Report(ctx, lease, s)
	})
	if err == nil {
		a.told = s
	}
	return err
}

// byeTimeout bounds what an agent that is told to end has to say.
const byeTimeout = time.Second

// end leaves the store in order: a machine that goes down is heard of until its
// lease ends, one whose agent ends is out of the queue at once.
func (a *Agent) end() {
	if a.session == nil {
		return
	}
	if a.state == Gone {
		a.session.Detach()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), byeTimeout)
	defer cancel()
	if err := a.leave(ctx); err != nil {
		a.config.Log.Warn("left the queue to its lease", "error", err)
	}
	if err := a.session.Close(); err != nil {
		a.config.Log.Warn("left the lease to its time", "error", err)
	}
}
