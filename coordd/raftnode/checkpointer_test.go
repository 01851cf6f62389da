package raftnode_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/coordd/coordd/coordd/raftnode"
)

// What was acknowledged before a checkpoint is in the backend after it.
func TestCheckpointHoldsWhatWasApplied(t *testing.T) {
	n := newNetwork(t, 1)
	m := n.leader()
	for i := range 20 {
		key := fmt.Sprint(i)
		mustPut(t, m, key)
		if err := m.node.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.machine.mu.Lock()
		flushed := slices.Clone(m.machine.flushed.keys)
		m.machine.mu.Unlock()
		if !slices.Contains(flushed, key) {
			t.Fatalf("%s was acknowledged before the checkpoint and is not in it: %v", key, flushed)
		}
	}
}

// What a compaction removes comes with no entry.
func TestCheckpointIsAFlushOfItsOwn(t *testing.T) {
	n := newNetwork(t, 1)
	m := n.leader()
	for range 3 {
		m.machine.mu.Lock()
		before := m.machine.flushes
		m.machine.mu.Unlock()
		if err := m.node.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.machine.mu.Lock()
		after := m.machine.flushes
		m.machine.mu.Unlock()
		if after == before {
			t.Fatal("nothing was flushed since the call, what a compaction has removed may still be there")
		}
	}
}

func TestCheckpointEndsWithTheNode(t *testing.T) {
	n := newNetwork(t, 1)
	m := n.leader()
	mustPut(t, m, "a")
	over, end := context.WithCancel(t.Context())
	end()
	node := m.node
	n.stop(m)
	for _, ctx := range []context.Context{t.Context(), over} {
		if err := node.Checkpoint(ctx); err != nil && !errors.Is(err, raftnode.ErrStopped) && !errors.Is(err, context.Canceled) {
			t.Errorf("checkpoint of a stopped node: %v", err)
		}
	}
}
