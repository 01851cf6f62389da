package raftnode

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3"
)

// retryReadTicks is after how many ticks an unanswered round is asked again:
// the request or its answer may have been lost on the way to the leader.
const retryReadTicks = 5

// readRound is the readers that share one ReadIndex (Raft thesis §6.4).
type readRound struct {
	since time.Time
	index uint64        // the read index, once known
	done  chan struct{} // closed when err is set
	err   error
}

func (r *readRound) finish(err error) {
	r.err = err
	close(r.done)
}

// reads are the rounds of this member: at most one gathers readers, at most
// one is asked, and those that know their index wait to be applied.
type reads struct {
	mu        sync.Mutex
	gathering *readRound
	asked     *readRound
	id        uint64 // of the last round asked; begins anywhere, so that no answer to an earlier process fits
	age       int    // ticks since raft was last asked
	applying  []*readRound
	retries   uint64 // times that a round was asked again
	closed    error
}

func newReads() reads { return reads{id: rand.Uint64()} }

// ReadIndex returns nil when this member has applied everything that was
// acknowledged anywhere before the call. On the leader it also proves that it
// led at a moment after the call began. It fails with ErrTimeout, ErrNoLeader,
// ErrStopped or the context's error.
func (n *Node) ReadIndex(ctx context.Context) error {
	begin := time.Now()
	err := n.readIndex(ctx)
	timesOf(ctx).ReadIndex += time.Since(begin)
	if err != nil {
		n.metrics.readsFailed.Inc()
	}
	return err
}

func (n *Node) readIndex(ctx context.Context) error {
	round, first, err := n.reads.join()
	if err != nil {
		return err
	}
	if first {
		poke(n.wake)
	}
	select {
	case <-round.done:
		return round.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *reads) join() (round *readRound, first bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != nil {
		return nil, false, r.closed
	}
	if r.gathering == nil {
		r.gathering = &readRound{since: time.Now(), done: make(chan struct{})}
		return r.gathering, true, nil
	}
	return r.gathering, false, nil
}

func (r *reads) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.age++
}

// leaderChanged lets the round on its way be asked again at once: whom it was
// asked of may be gone, or have dropped it when it was deposed.
func (r *reads) leaderChanged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.age = retryReadTicks
}

// startReads asks raft for a read index when there are readers and no round is
// on its way, or when the one on its way seems lost.
func (n *Node) startReads() {
	if request := n.reads.next(n.canRead()); request != nil {
		n.raw.ReadIndex(request)
	}
}

// canRead says whether raft would answer a read index request rightly. A leader
// must have committed an entry of its own term first (Raft thesis §6.4): raft
// sees to that itself, except where the leader is the only voter. There it
// answers with a commit index that, after a restart, may be older than what was
// acknowledged. A commit index beyond the leader's own log is the work of other
// voters: a leader whose disk is the slowest may have no other for long.
func (n *Node) canRead() bool {
	status := n.raw.BasicStatus()
	if status.Lead != n.cfg.ID {
		return status.Lead != raft.None
	}
	term, err := n.entries.Term(status.HardState.GetCommit())
	return errors.Is(err, raft.ErrUnavailable) || err == nil && term == status.HardState.GetTerm()
}

func (r *reads) next(canRead bool) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !canRead:
		return nil
	case r.asked != nil && r.age < retryReadTicks:
		return nil
	case r.asked == nil && r.gathering == nil:
		return nil
	case r.asked == nil:
		r.asked, r.gathering = r.gathering, nil
		r.id++
	default:
		r.retries++
	}
	r.age = 0
	return binary.BigEndian.AppendUint64(nil, r.id)
}

// finishRead takes raft's answer and starts the next round.
func (n *Node) finishRead(rs raft.ReadState) {
	n.reads.answered(rs, n.applied.Load)
	n.startReads()
}

// answered completes the round that was asked. It reads the applied index
// under the lock, so that an apply at the same moment is either seen here or
// sees the round in its release.
func (r *reads) answered(rs raft.ReadState, applied func() uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked == nil || binary.BigEndian.Uint64(rs.RequestCtx) != r.id {
		return // an answer to a round that has ended, the second one perhaps
	}
	round := r.asked
	r.asked = nil
	if round.index = rs.Index; round.index <= applied() {
		round.finish(nil)
		return
	}
	r.applying = append(r.applying, round)
}

// release ends the rounds whose index has been applied.
func (r *reads) release(applied uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applying = slices.DeleteFunc(r.applying, func(round *readRound) bool {
		ready := round.index <= applied
		if ready {
			round.finish(nil)
		}
		return ready
	})
}

func (r *reads) expire(deadline time.Time, reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	late := func(round *readRound) bool {
		if round == nil || !round.since.Before(deadline) {
			return false
		}
		round.finish(reason)
		return true
	}
	if late(r.gathering) {
		r.gathering = nil
	}
	if late(r.asked) {
		r.asked = nil
	}
	r.applying = slices.DeleteFunc(r.applying, late)
}

// fail ends all rounds, present and future.
func (r *reads) fail(err error) {
	r.mu.Lock()
	r.closed = err
	r.mu.Unlock()
	r.expire(time.Now().Add(time.Hour), err)
}
