package raftnode

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// compacting is a state machine with a compaction that never ends.
type compacting struct {
	StateMachine
	unflushed, most atomic.Int64
}

func (c *compacting) CompactStep(int) bool {
	c.most.Store(max(c.most.Load(), c.unflushed.Add(flushBytes/4)))
	return true
}

func (c *compacting) Unflushed() int { return int(c.unflushed.Load()) }

// A compaction does not run ahead of the disk while there is nothing to apply.
func TestCompactionWaitsForFlush(t *testing.T) {
	c := &compacting{}
	n := &Node{
		cfg:        Config{StateMachine: c},
		applies:    newQueue(),
		checkpoint: make(chan struct{}, 1),
		flushed:    make(chan struct{}, 1),
	}
	n.ctx, n.stop = context.WithCancel(t.Context())
	poke(n.applies.wake)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n.ctx.Err() == nil {
			n.compact()
		}
	}()
	for range 10 {
		select {
		case <-n.checkpoint:
		case <-time.After(10 * time.Second):
			t.Fatal("no flush is asked for")
		}
		time.Sleep(5 * time.Millisecond) // in which a compaction may not go on
		c.unflushed.Store(0)
		poke(n.flushed)
	}
	n.stop()
	<-done
	if most := c.most.Load(); most > 2*flushBytes {
		t.Errorf("%d bytes were unflushed, a flush starts at %d", most, flushBytes)
	}
}
