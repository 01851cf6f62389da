package peer

import (
	"context"
	"sync"
)

// reports hands news about peers to raft from a goroutine of its own: Send is
// called by the loop that the reports go to. Its bound is one mark of each kind a member.
type reports struct {
	wake chan struct{} // one token: there is something new

	mu              sync.Mutex
	unreachable     map[uint64]struct{}
	failedSnapshots map[uint64]struct{}
}

func newReports() *reports {
	return &reports{
		wake:            make(chan struct{}, 1),
		unreachable:     map[uint64]struct{}{},
		failedSnapshots: map[uint64]struct{}{},
	}
}

func (r *reports) peerUnreachable(id uint64) { r.mark(r.unreachable, id) }

func (r *reports) snapshotFailed(id uint64) { r.mark(r.failedSnapshots, id) }

func (r *reports) mark(set map[uint64]struct{}, id uint64) {
	r.mu.Lock()
	set[id] = struct{}{}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take empties a set.
func (r *reports) take(set map[uint64]struct{}) (ids []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range set {
		ids = append(ids, id)
	}
	clear(set)
	return ids
}

func (r *reports) run(ctx context.Context, unreachable func(uint64), snapshot func(uint64, bool)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		for _, id := range r.take(r.unreachable) {
			unreachable(id)
		}
		for _, id := range r.take(r.failedSnapshots) {
			snapshot(id, false)
		}
	}
}
