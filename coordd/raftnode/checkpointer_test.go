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
