package raftnode_test

import (
	"context"
	"errors"
	"testing"

	"github.com/coordd/coordd/coordd/raftnode"
)

// A member that retires answers nobody any more, and votes on: the two that are
// left of three elect one of them with its help alone.
func TestRetiredMemberEndsRequestsAndVotes(t *testing.T) {
	n := newNetwork(t, 3)
	leader := n.leader()
	var others []*member
	for _, m := range n.members {
		if m != leader {
			others = append(others, m)
		}
	}
	retired := others[0]
	n.setCut(retired.id, true)
	results := make(chan error, 2)
	go func() { results <- retired.node.ReadIndex(t.Context()) }()
	go func() { _, err := put(t.Context(), retired, "under way"); results <- err }()
	retired.node.Retire()
	for range 2 {
		if err := <-results; !errors.Is(err, raftnode.ErrStopped) {
			t.Errorf("a request at a member that has retired: %v, want %v", err, raftnode.ErrStopped)
		}
	}
	n.setCut(retired.id, false)
	n.setCut(leader.id, true)
	n.leader(leader.id)
	if _, err := put(context.Background(), others[1], "after"); err != nil {
		t.Errorf("a put that needs what the retired member writes: %v", err)
	}
}
