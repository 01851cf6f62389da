package raftnode

import (
	"fmt"
	"time"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	// flushBytes of applied state start a flush before its time.
	flushBytes = 16 << 20
	// maxUnflushedBytes of applied state make the applier wait for a flush.
	maxUnflushedBytes = 128 << 20
	flushInterval     = 500 * time.Millisecond
)

// apply is the only writer of the state machine.
func (n *Node) apply() {
	compacting := false
	for {
		msgs := n.applies.poll()
		if len(msgs) == 0 && !compacting {
			if msgs = n.applies.take(n.ctx); msgs == nil {
				return
			}
		}
		if n.ctx.Err() != nil {
			return
		}
		for _, m := range msgs {
			if err := n.applyMessage(m); err != nil {
				n.fail(err)
				return
			}
		}
		compacting = n.compact()
	}
}

func (n *Node) applyMessage(m *raftpb.Message) error {
	if m.GetType() == raftpb.MsgSnap {
		return n.applySnapshot(m.GetSnapshot().GetMetadata())
	}
	for _, e := range m.GetEntries() {
		if !n.awaitFlush() {
			return nil // stopping
		}
		if err := n.applyEntry(e); err != nil {
			return err
		}
		n.applied.Store(e.GetIndex())
		n.reads.release(e.GetIndex())
	}
	n.deliver(m.GetResponses())
	if n.cfg.StateMachine.Unflushed() > flushBytes {
		poke(n.checkpoint)
	}
	return nil
}

func (n *Node) applySnapshot(meta *raftpb.SnapshotMetadata) error {
	n.metrics.installing.Set(1)
	defer n.metrics.installing.Set(0)
	if err := n.cfg.InstallSnapshot(meta); err != nil {
		return fmt.Errorf("raftnode: install snapshot at entry %d: %w", meta.GetIndex(), err)
	}
	n.applied.Store(meta.GetIndex())
	n.reads.release(meta.GetIndex())
	n.installed <- struct{}{}
	return nil
}

func (n *Node) applyEntry(e *raftpb.Entry) error {
	if e.GetTerm() > n.appliedTerm {
		n.appliedTerm = e.GetTerm()
		n.proposals.abandon(n.appliedTerm)
	}
	switch {
	case e.GetType() != raftpb.EntryNormal:
		return n.applyChange(e)
	case len(e.GetData()) == 0: // a new leader's first entry
		n.cfg.StateMachine.Apply(e.GetIndex(), e.GetTerm(), nil)
		return nil
	}
	origin, sequence, err := coordpb.BatchID(e.GetData())
	if err != nil {
		return fmt.Errorf("raftnode: entry %d: %w", e.GetIndex(), err)
	}
	b := n.proposals.take(origin, sequence)
	reqs, err := requests(b, e.GetData())
	if err != nil {
		return fmt.Errorf("raftnode: entry %d: %w", e.GetIndex(), err)
	}
	begin := time.Now()
	results := n.cfg.StateMachine.Apply(e.GetIndex(), e.GetTerm(), reqs)
	end := time.Now()
	if b != nil {
		b.applying, b.applied = begin, end
		for i, c := range b.calls {
			c.result <- results[i]
		}
	}
	n.noteApply(e.GetIndex(), len(reqs), end.Sub(begin))
	return nil
}

// requests returns an entry's requests: the proposer still has them decoded.
func requests(b *batch, data []byte) ([]proto.Message, error) {
	if b == nil {
		return coordpb.DecodeBatch(data)
	}
	reqs := make([]proto.Message, len(b.calls))
	for i, c := range b.calls {
		reqs[i] = c.req
	}
	return reqs, nil
}

// awaitFlush keeps the applier from running ahead of the disk without bound.
// It returns false when the node stops.
func (n *Node) awaitFlush() bool {
	for n.cfg.StateMachine.Unflushed() > maxUnflushedBytes {
		poke(n.checkpoint)
		select {
		case <-n.flushed:
		case <-n.ctx.Done():
			return false
		}
	}
	return true
}

// compact does a step of the compaction that is due, and reports whether some is
// left. Steps are faster than the disk: it lets a flush take what has gathered,
// unless there is something to apply.
func (n *Node) compact() (more bool) {
	more = n.cfg.StateMachine.CompactStep(n.cfg.CompactLimit)
	if more && n.cfg.StateMachine.Unflushed() > flushBytes {
		poke(n.checkpoint)
		select {
		case <-n.flushed:
		case <-n.applies.wake:
		case <-n.ctx.Done():
		}
	}
	return more
}

var _ StateMachine = (*kvcore.Store)(nil)
