package raftnode_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/raftnode"
)

// TestAliveAsLongAsWritesComplete: a disk that hangs is noticed, by a member
// that has no leader too, and forgotten once it goes on.
func TestAliveAsLongAsWritesComplete(t *testing.T) {
	n := newNetwork(t, 1)
	m := n.leader()
	if err := m.node.Alive(t.Context()); err != nil {
		t.Fatal(err)
	}
	hanging, mend := make(chan struct{}), make(chan struct{})
	var hung atomic.Bool
	m.fs.SetFault(func(op disk.Op) error {
		if op.Kind == disk.Sync && hung.CompareAndSwap(false, true) {
			close(hanging)
			<-mend
		}
		return nil
	})
	written := make(chan error, 1)
	go func() { _, err := put(context.Background(), m, "slow"); written <- err }()
	<-hanging
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := m.node.Alive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the disk hangs: %v, want %v", err, context.DeadlineExceeded)
	}
	close(mend)
	if err := <-written; err != nil && !errors.Is(err, raftnode.ErrTimeout) {
		t.Fatal(err)
	}
	if err := m.node.Alive(t.Context()); err != nil {
		t.Errorf("after the disk went on: %v", err)
	}
	node := m.node
	n.stop(m)
	if err := node.Alive(t.Context()); !errors.Is(err, raftnode.ErrStopped) {
		t.Errorf("of a stopped node: %v, want %v", err, raftnode.ErrStopped)
	}
}

// A store may take longer to install than a watchdog waits.
func TestAliveWhileSnapshotIsInstalled(t *testing.T) {
	n := newNetwork(t, 3)
	lagging, goOn := n.installSlowly()
	defer goOn()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := lagging.node.Alive(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	goOn()
	if err := retry(t, func() error { return lagging.node.ReadIndex(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	if err := lagging.node.Alive(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAliveWithoutAQuorum(t *testing.T) {
	n := newNetwork(t, 2)
	for id := range n.members {
		n.setCut(id, true)
	}
	for id, m := range n.members {
		if err := m.node.Alive(t.Context()); err != nil {
			t.Errorf("member %d: %v", id, err)
		}
	}
}
