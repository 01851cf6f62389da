package raftnode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	// maxChanges bounds the changes of the configuration that wait on this member.
	maxChanges = 16
	// retryChangeTicks is after how many ticks a change that is not applied is
	// proposed again.
	retryChangeTicks = 2
	// neverProposed is the term of a change that no leader has been given yet.
	neverProposed = math.MaxUint64
)

var errNoChange = errors.New("raftnode: request does not change the configuration")

// ProposeConfChange replicates a request that adds, removes or promotes a
// member, and returns its response once this member has applied it. Errors are
// those of Propose.
//
// raft admits one such change at a time and drops others without a word, here
// or on the leader they were passed on to. So a change is proposed again until
// it is applied. Should it come to be in the log twice, the state machine
// refuses the second: a member is added, removed and promoted once.
func (n *Node) ProposeConfChange(ctx context.Context, req proto.Message) (proto.Message, error) {
	change, err := confChange(req)
	if err != nil {
		return nil, err
	}
	c := &call{req: req, since: time.Now(), result: make(chan kvcore.Result, 1)}
	if err := n.proposals.addChange(c, change); err != nil {
		return nil, err
	}
	poke(n.wake)
	select {
	case r := <-c.result:
		return r.Response, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// confChange is what a request means to raft.
func confChange(req proto.Message) (*raftpb.ConfChange, error) {
	switch r := req.(type) {
	case *coordpb.MemberAddRequest:
		kind := raftpb.ConfChangeAddNode
		if r.GetMember().GetIsLearner() {
			kind = raftpb.ConfChangeAddLearnerNode
		}
		return &raftpb.ConfChange{Type: kind.Enum(), NodeId: new(r.GetMember().GetId())}, nil
	case *pb.MemberRemoveRequest:
		return &raftpb.ConfChange{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: new(r.ID)}, nil
	case *pb.MemberPromoteRequest:
		return &raftpb.ConfChange{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: new(r.ID)}, nil
	default:
		return nil, fmt.Errorf("%w: %T", errNoChange, req)
	}
}

// addChange makes a call a batch of its own, which is the change's context.
func (p *proposals) addChange(c *call, change *raftpb.ConfChange) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetChanges()
	switch {
	case p.closed != nil:
		return p.closed
	case len(p.changes) >= maxChanges:
		return ErrTooManyRequests
	}
	p.sequence++
	if change.Context, err = coordpb.AppendBatch(nil, p.origin, p.sequence, []proto.Message{c.req}); err != nil {
		return err
	}
	b := &batch{sequence: p.sequence, term: neverProposed, calls: []*call{c}, change: change, age: retryChangeTicks}
	p.proposed[b.sequence] = b
	p.changes = append(p.changes, b)
	return nil
}

// forgetChanges drops those that have been answered.
func (p *proposals) forgetChanges() {
	p.changes = slices.DeleteFunc(p.changes, func(b *batch) bool { return p.proposed[b.sequence] != b })
}

func (p *proposals) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.changes {
		b.age++
	}
}

// proposeChange proposes the oldest change that waits, unless that was done just now.
func (n *Node) proposeChange() {
	status := n.raw.BasicStatus()
	if status.Lead == raft.None {
		return
	}
	change := n.proposals.dueChange(status.HardState.GetTerm())
	if change == nil {
		return
	}
	if err := n.raw.ProposeConfChange(change); err != nil && !errors.Is(err, raft.ErrProposalDropped) {
		panic(fmt.Sprintf("raftnode: propose a change: %v", err))
	} // one that is dropped is proposed again
}

func (p *proposals) dueChange(term uint64) *raftpb.ConfChange {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.changes) == 0 {
		return nil
	}
	p.forgetChanges()
	if len(p.changes) == 0 || p.changes[0].age < retryChangeTicks {
		return nil
	}
	b := p.changes[0]
	b.age, b.term = 0, term
	return b.change
}

// applyChange applies a change of the configuration: if the state machine lets
// it through, raft changes it, on the loop, and the state machine records the
// outcome together with the member. A change that is refused is none to raft.
func (n *Node) applyChange(e *raftpb.Entry) error {
	change, req, b, err := n.decodeChange(e)
	if err != nil {
		return fmt.Errorf("raftnode: entry %d: %w", e.GetIndex(), err)
	}
	if err := n.cfg.StateMachine.CheckMembership(e.GetIndex(), req); err != nil {
		n.cfg.StateMachine.Apply(e.GetIndex(), e.GetTerm(), nil)
		b.finish(kvcore.Result{Err: err})
		return nil
	}
	state := make(chan *raftpb.ConfState, 1)
	n.do(func() { state <- n.raw.ApplyConfChange(change) })
	var cs *raftpb.ConfState
	select {
	case cs = <-state:
	case <-n.ctx.Done():
		return ErrStopped // no entry after it may be applied, and flushed, without it
	}
	n.cfg.Logger.Info("members changed", "change", change.GetType().String(), "member", fmt.Sprintf("%x", change.GetNodeId()),
		"voters", fmt.Sprintf("%x", cs.GetVoters()), "learners", fmt.Sprintf("%x", cs.GetLearners()))
	response := n.cfg.StateMachine.ApplyMembership(e.GetIndex(), e.GetTerm(), req, cs)
	b.finish(kvcore.Result{Response: response})
	poke(n.checkpoint) // a new member can use no snapshot that does not know it
	return nil
}

// decodeChange returns what an entry asks of raft and of the state machine,
// which must be the same thing, and who waits for it here.
func (n *Node) decodeChange(e *raftpb.Entry) (change *raftpb.ConfChange, req proto.Message, b *batch, err error) {
	change = new(raftpb.ConfChange)
	if e.GetType() != raftpb.EntryConfChange {
		return nil, nil, nil, fmt.Errorf("%s is not used here", e.GetType())
	}
	if err := proto.Unmarshal(e.GetData(), change); err != nil {
		return nil, nil, nil, err
	}
	reqs, err := coordpb.DecodeBatch(change.GetContext())
	if err != nil {
		return nil, nil, nil, err
	}
	if len(reqs) != 1 {
		return nil, nil, nil, fmt.Errorf("%w: %d requests", errNoChange, len(reqs))
	}
	same, err := confChange(reqs[0])
	if err != nil {
		return nil, nil, nil, err
	}
	if same.GetType() != change.GetType() || same.GetNodeId() != change.GetNodeId() {
		return nil, nil, nil, fmt.Errorf("%w as raft is told: %v", errNoChange, reqs[0])
	}
	origin, sequence, err := coordpb.BatchID(change.GetContext())
	if err != nil {
		return nil, nil, nil, err
	}
	return change, reqs[0], n.proposals.take(origin, sequence), nil
}

// finish answers the one call of a change, if it is this process's.
func (b *batch) finish(r kvcore.Result) {
	if b == nil {
		return
	}
	b.applying = time.Now()
	b.applied = b.applying
	for _, c := range b.calls {
		c.result <- r
	}
}
