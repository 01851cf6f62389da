package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Progress is what the leader knows of a member's log.
type Progress struct {
	Match   uint64 // the last entry that is known to be durable there
	Learner bool
}

// Progress returns how far every member is, this one included. It fails with
// ErrNotLeader where this member does not lead, with ErrStopped or the context's error.
func (n *Node) Progress(ctx context.Context) (map[uint64]Progress, error) {
	answer := make(chan map[uint64]Progress, 1)
	n.do(func() { answer <- n.progress() })
	select {
	case all := <-answer:
		if all == nil {
			return nil, ErrNotLeader
		}
		return all, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-n.ctx.Done():
		return nil, ErrStopped
	}
}

func (n *Node) progress() map[uint64]Progress {
	if n.raw.BasicStatus().RaftState != raft.StateLeader {
		return nil
	}
	all := map[uint64]Progress{}
	n.raw.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		all[id] = Progress{Match: p.Match, Learner: p.IsLearner}
	})
	return all
}

// TransferLeader lets the voter to lead, and returns once it does, as far as
// this member sees. raft gives a transfer one election timeout; what takes
// twice that fails with ErrTransferFailed. It fails too with ErrNoLeader,
// ErrStopped or the context's error. Any member may ask. While leadership moves
// the leader takes no proposals; they wait, and go to the next one.
func (n *Node) TransferLeader(ctx context.Context, to uint64) error {
	bound := 2 * time.Duration(n.cfg.ElectionTicks) * n.cfg.Tick
	ctx, cancel := context.WithTimeoutCause(ctx, bound, ErrTransferFailed)
	defer cancel()
	changed := n.Changed()
	from := n.Status().Leader
	if from == raft.None {
		return ErrNoLeader
	}
	if from == to {
		return nil
	}
	n.cfg.Logger.Info("moving leadership", "from", fmt.Sprintf("%x", from), "to", fmt.Sprintf("%x", to))
	n.do(func() { n.raw.TransferLeader(to) })
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-n.ctx.Done():
			return ErrStopped
		}
		changed = n.Changed()
		switch n.Status().Leader {
		case to:
			return nil
		case raft.None, from: // on its way
		default:
			return errors.Join(ErrTransferFailed, ErrLeaderChanged)
		}
	}
}
