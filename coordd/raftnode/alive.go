package raftnode

import (
	"context"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Alive returns once the loop has turned, the log writer has finished all that
// it was given before, with its sync, and the loop has heard of it. While it waits
// for a received snapshot to be installed, which takes as long as the store is
// large, the loop's turn is enough. It says
// nothing of other members. It fails when ctx ends first, or with [ErrStopped].
func (n *Node) Alive(ctx context.Context) error {
	done := make(chan struct{})
	n.do(func() {
		if n.applied.Load() < n.installing {
			close(done)
			return
		}
		n.probes = append(n.probes, done)
		n.appends.put(n.probe())
	})
	select {
	case <-done:
		return nil
	case <-n.ctx.Done():
		return ErrStopped
	case <-ctx.Done():
		return fmt.Errorf("raftnode: the log writer has not answered: %w", context.Cause(ctx))
	}
}

// probe is an append of nothing. Its response, which raft takes for one about
// nothing, comes back marked.
func (n *Node) probe() *raftpb.Message {
	thread, self := uint64(raft.LocalAppendThread), n.cfg.ID
	return &raftpb.Message{
		Type: raftpb.MsgStorageAppend.Enum(), From: &self, To: &thread,
		Responses: []*raftpb.Message{{
			Type: raftpb.MsgStorageAppendResp.Enum(), From: &thread, To: &self, Context: []byte("alive"),
		}},
	}
}

// answerProbe ends the oldest probe: the log writer answers in order.
func (n *Node) answerProbe() {
	close(n.probes[0])
	n.probes = n.probes[1:]
}
