package raftnode

import (
	"fmt"
	"time"

	"github.com/coordd/coordd/coordd/wal"
	"go.etcd.io/raft/v3/raftpb"
)

// writeLog owns the write-ahead log. All appends that wait become one write
// and one fdatasync; only then are their responses delivered.
func (n *Node) writeLog() {
	// hs is the newest hard state not yet written: a commit index alone need
	// not be durable and goes with the next write.
	var hs *raftpb.HardState
	var released uint64
	for {
		msgs := n.appends.take(n.ctx)
		if msgs == nil {
			return
		}
		var err error
		if hs, err = n.saveAppends(msgs, hs); err != nil {
			n.fail(fmt.Errorf("raftnode: the log cannot be written, this member stops: %w", err))
			return
		}
		for _, m := range msgs {
			n.deliver(m.GetResponses())
		}
		if upTo := n.release.Load(); upTo > released {
			if err := n.cfg.Log.Release(upTo); err != nil {
				n.cfg.Logger.Warn("old log segments stay", "error", err)
			}
			released = upTo
		}
	}
}

// saveAppends makes messages durable in order. Runs of entries that follow each
// other become one frame of the log.
func (n *Node) saveAppends(msgs []*raftpb.Message, hs *raftpb.HardState) (pending *raftpb.HardState, err error) {
	var run []*raftpb.Entry
	sync := false
	for _, m := range msgs {
		if m.Term != nil {
			hs = &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		}
		sync = sync || len(m.GetResponses()) > 0
		if snap := m.GetSnapshot(); snap.GetMetadata().GetIndex() > 0 {
			if err := n.save(nil, run, false); err != nil {
				return nil, err
			}
			run = nil
			if err := n.installSnapshot(snap); err != nil {
				return nil, err
			}
		}
		ents := m.GetEntries()
		if len(run) > 0 && len(ents) > 0 && ents[0].GetIndex() != run[len(run)-1].GetIndex()+1 {
			if err := n.save(nil, run, false); err != nil {
				return nil, err
			}
			run = nil
		}
		run = append(run, ents...)
	}
	if !sync && len(run) == 0 {
		return hs, nil
	}
	return nil, n.save(hs, run, sync)
}

func (n *Node) save(hs *raftpb.HardState, ents []*raftpb.Entry, sync bool) error {
	if hs == nil && len(ents) == 0 && !sync {
		return nil
	}
	begin := time.Now()
	if err := n.cfg.Log.Save(hs, ents, sync); err != nil {
		return err
	}
	if took := time.Since(begin); took >= slowWrite {
		n.cfg.Logger.Warn("slow write of the log: the disk does not keep up", "took", took, "entries", len(ents))
	}
	return n.entries.append(ents)
}

// installSnapshot makes the log and the state machine begin behind a received
// snapshot. The log's record comes first: a start between the two finishes the
// installation from the received file.
func (n *Node) installSnapshot(snap *raftpb.Snapshot) error {
	meta := snap.GetMetadata()
	if err := n.cfg.Log.SaveSnapshot(wal.Position{Index: meta.GetIndex(), Term: meta.GetTerm()}); err != nil {
		return err
	}
	n.applies.put(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), Snapshot: snap})
	select {
	case <-n.installed:
		return n.entries.restart(snap)
	case <-n.ctx.Done():
		return ErrStopped
	}
}
