package raftnode

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// runCheckpoints moves applied state to the backend in the background and lets
// go of log that neither a restart nor a lagging follower needs. Nothing on
// the way of a reply waits for it.
func (n *Node) runCheckpoints() {
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
		case <-n.checkpoint:
		}
		if err := n.flush(); err != nil {
			n.fail(fmt.Errorf("raftnode: the store cannot be written, this member stops: %w", err))
			return
		}
	}
}

func (n *Node) flush() error {
	idle := n.cfg.StateMachine.Unflushed() == 0
	begin := time.Now()
	n.flushes.begin()
	index, err := n.cfg.StateMachine.Flush()
	if err != nil {
		return err
	}
	if !idle {
		n.metrics.flush.Observe(time.Since(begin).Seconds())
	}
	poke(n.flushed)
	n.flushes.end()
	n.entries.flushedTo(index, n.cfg.StateMachine.ConfState())
	// Raft looks for changes of the configuration in what it does not know to be
	// applied when it campaigns, and panics where that is gone.
	released, err := n.entries.compact(min(index, n.settled.Load()), n.cfg.CatchUpEntries, n.cfg.CatchUpBytes)
	if err != nil {
		return err
	}
	n.release.Store(released)
	return nil
}

// Checkpoint returns once everything that the state machine has come to before the
// call is in its backend: what this member has applied, and what a compaction has
// removed. It fails with ErrStopped or the context's error.
func (n *Node) Checkpoint(ctx context.Context) error {
	want := n.flushes.next()
	poke(n.checkpoint)
	for {
		done, ended := n.flushes.now()
		if done >= want {
			return nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ctx.Done():
			return ErrStopped
		}
	}
}

// flushes counts them: one holds all that there was when it began.
type flushes struct {
	mu          sync.Mutex
	begun, done uint64
	ended       chan struct{} // closed and replaced by end; nil while nobody waits
}

// next is the number of the first flush that has not begun.
func (f *flushes) next() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.begun + 1
}

func (f *flushes) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun++
}

// end says that the flush which began last is durable.
func (f *flushes) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = f.begun
	if f.ended != nil {
		close(f.ended)
		f.ended = nil
	}
}

// now returns the number of the last flush that is durable, and what tells of the next.
func (f *flushes) now() (done uint64, ended <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil {
		f.ended = make(chan struct{})
	}
	return f.done, f.ended
}
