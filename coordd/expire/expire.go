// Package expire ends leases whose time has come, and records now and then how
// much of it others have left. Only the leader does: it alone holds deadlines.
// Both go through the log, bound to the leader's term, so that a deposed leader
// ends or shortens nothing that its successor has prolonged.
package expire

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore/lease"
	"github.com/coordd/coordd/proto/coordpb"
	"google.golang.org/protobuf/proto"
)

const (
	// maxExpire bounds the leases that one log entry ends. Nothing else is applied
	// meanwhile: about 2 µs a lease. More entries would take longer in all, for who
	// waits for those leases is at work from the first on.
	maxExpire = 5000
	// maxCheckpoint bounds the leases that one log entry checkpoints.
	maxCheckpoint = 1000
	// A look at the deadlines waits for the next one, but not for less than
	// minPause, so that leases which end together share an entry, nor for more
	// than maxPause: the TTL of a lease granted since the last look begins with
	// the next one.
	minPause = 50 * time.Millisecond
	maxPause = 500 * time.Millisecond
)

// Node is the member's share in the replication: *raftnode.Node.
type Node interface {
	Status() raftnode.Status
	Changed() <-chan struct{}
	ReadIndex(ctx context.Context) error
	Propose(ctx context.Context, req proto.Message) (proto.Message, error)
}

// Driver promotes and demotes a member's lease table as leadership comes and
// goes, and proposes the end of leases that are due.
type Driver struct {
	Node   Node
	Leases *lease.Table
	Now    func() time.Time
	Logger *slog.Logger
}

// Run drives until ctx ends. It returns with the table demoted.
func (d *Driver) Run(ctx context.Context) {
	for ctx.Err() == nil {
		changed := d.Node.Changed()
		if status := d.Node.Status(); status.IsLeader() {
			d.leadUntil(ctx, changed, status.Term)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// leadUntil leads until changed is closed: leader or term are others then.
func (d *Driver) leadUntil(ctx context.Context, changed <-chan struct{}, term uint64) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-changed:
		case <-ctx.Done():
		}
		cancel()
	})
	d.lead(ctx, term)
	d.Leases.Demote()
	cancel()
	watching.Wait()
}

// lead promotes the table and then expires and checkpoints leases until ctx ends.
func (d *Driver) lead(ctx context.Context, term uint64) {
	for !d.caughtUp(ctx, term) {
		if !sleep(ctx, minPause) {
			return
		}
	}
	d.Leases.Promote(d.Now())
	// due have been handed out and are not gone yet. A proposal that failed may
	// still be applied, so they are proposed again and never renewable meanwhile.
	var due []lease.ID
	for {
		due = append(due, d.Leases.Due(d.Now(), maxExpire-len(due))...)
		full := len(due) == maxExpire
		pause := d.pause()
		if len(due) > 0 && d.expire(ctx, term, due) {
			due = nil
			if full {
				pause = 0
			}
		}
		if d.checkpoint(ctx, term) {
			pause = 0
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// caughtUp waits until this member has applied its own term's first entry and
// with it all that its predecessors granted, revoked and expired. It returns
// false if that failed or the member does not lead the term.
func (d *Driver) caughtUp(ctx context.Context, term uint64) bool {
	if err := d.Node.ReadIndex(ctx); err != nil {
		return false
	}
	status := d.Node.Status()
	return status.IsLeader() && status.Term == term
}

// expire proposes the end of leases and returns whether that was applied.
func (d *Driver) expire(ctx context.Context, term uint64, due []lease.ID) bool {
	request := &coordpb.LeaseExpireRequest{Term: term, Ids: make([]int64, len(due))}
	for i, id := range due {
		request.Ids[i] = int64(id)
	}
	if _, err := d.Node.Propose(ctx, request); err != nil {
		if ctx.Err() == nil {
			d.Logger.Warn("expiring leases failed; they are tried again", "leases", len(due), "error", err)
		}
		return false
	}
	return true
}

// checkpoint proposes the checkpoints that are due, and returns whether there may
// be more at once.
func (d *Driver) checkpoint(ctx context.Context, term uint64) (more bool) {
	leases := d.Leases.Checkpoints(d.Now(), maxCheckpoint)
	if len(leases) == 0 {
		return false
	}
	defer d.Leases.Checkpointed()
	request := &coordpb.LeaseCheckpointRequest{Term: term, Checkpoints: make([]*coordpb.LeaseCheckpoint, len(leases))}
	for i, l := range leases {
		request.Checkpoints[i] = &coordpb.LeaseCheckpoint{Id: int64(l.ID), RemainingTtlSeconds: l.RemainingSeconds}
	}
	if _, err := d.Node.Propose(ctx, request); err != nil {
		if ctx.Err() == nil {
			d.Logger.Warn("recording how long leases have left failed; it is tried again", "leases", len(leases), "error", err)
		}
		return false
	}
	return len(leases) == maxCheckpoint
}

// pause returns how long to wait before the next look at the deadlines.
func (d *Driver) pause() time.Duration {
	next, ok := d.Leases.NextDeadline()
	if !ok {
		return maxPause
	}
	return min(max(next.Sub(d.Now()), minPause), maxPause)
}

// sleep returns false if ctx ended before.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
