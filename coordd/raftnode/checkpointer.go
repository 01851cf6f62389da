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
	index, err := n.cfg.StateMachine.Flush()
	if err != nil {
		return err
	}
	if !idle {
		n.metrics.flush.Observe(time.Since(begin).Seconds())
	}
	poke(n.flushed)
	n.durable.reached(index)
	if term, err := n.entries.Term(index); err == nil {
		n.entries.setFlushed(index, term, n.cfg.StateMachine.ConfState())
	} // else a snapshot was installed meanwhile, and said so itself
	// Raft looks for changes of the configuration in what it does not know to be
	// applied when it campaigns, and panics where that is gone.
	released, err := n.entries.compact(min(index, n.settled.Load()), n.cfg.CatchUpEntries, n.cfg.CatchUpBytes)
	if err != nil {
		return err
	}
	n.release.Store(released)
	return nil
}

// Checkpoint returns once everything that this member had applied before the call
// is in the state machine's backend. It fails with ErrStopped or the context's
// error.
func (n *Node) Checkpoint(ctx context.Context) error {
	applied := n.applied.Load()
	for {
		index, moved := n.durable.now()
		if index >= applied {
			return nil
		}
		poke(n.checkpoint)
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ctx.Done():
			return ErrStopped
		}
	}
}

// durable is how far the backend has got since this process began.
type durable struct {
	mu    sync.Mutex
	index uint64
	moved chan struct{} // closed and replaced by reached; nil at first
}

func (d *durable) now() (index uint64, moved <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.moved == nil {
		d.moved = make(chan struct{})
	}
	return d.index, d.moved
}

func (d *durable) reached(index uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index = max(d.index, index)
	if d.moved != nil {
		close(d.moved)
		d.moved = nil
	}
}
