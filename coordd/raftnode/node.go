package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/coordd/wal"
	"github.com/coordd/coordd/kvcore"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Errors that requests end with. ErrLeaderChanged, ErrStopped and ErrTimeout
// leave open whether a proposal has been or will still be applied.
var (
	ErrNoLeader        = errors.New("raftnode: no leader")
	ErrLeaderChanged   = errors.New("raftnode: leader changed")
	ErrStopped         = errors.New("raftnode: stopped")
	ErrTimeout         = errors.New("raftnode: request timed out")
	ErrTooManyRequests = errors.New("raftnode: too many requests wait")
	ErrTooLarge        = errors.New("raftnode: request too large")
	ErrNotLeader       = errors.New("raftnode: not leader")
	ErrTransferFailed  = errors.New("raftnode: leadership did not move in time")
)

// StateMachine is what committed entries are applied to. Apply,
// CheckMembership, ApplyMembership and CompactStep are called by one goroutine;
// Flush by another. ApplyMembership gets only what CheckMembership has let
// through, at the same index.
type StateMachine interface {
	Apply(index, term uint64, reqs []proto.Message) []kvcore.Result
	CheckMembership(index uint64, req proto.Message) error
	ApplyMembership(index, term uint64, req proto.Message, cs *raftpb.ConfState) proto.Message
	Applied() (index, term uint64)
	ConfState() *raftpb.ConfState
	CompactStep(limit int) (more bool)
	Unflushed() int
	Flush() (index uint64, err error)
}

// Transport carries messages to other members. Send never blocks and drops
// what does not fit.
type Transport interface {
	Send(msgs []*raftpb.Message)
}

// Config is what a Node is made of. Every field is needed.
type Config struct {
	ID             uint64
	Tick           time.Duration // length of one tick
	HeartbeatTicks int           // a leader's heartbeat interval, in ticks
	ElectionTicks  int           // an election timeout, in ticks; above HeartbeatTicks
	PreVote        bool          // ask whether an election can be won before beginning one
	RequestTimeout time.Duration // after it a waiting request gets ErrTimeout
	CatchUpBytes   int           // log kept in memory and on disk for followers that lag, in bytes
	CatchUpEntries uint64        // the same, in entries; whichever is less
	CompactLimit   int           // keys that one step of a compaction visits between two entries, and records it removes
	Log            *wal.Log
	Recovered      *wal.Recovered
	StateMachine   StateMachine
	Transport      Transport
	// InstallSnapshot replaces the state machine's content with the received
	// snapshot that meta describes.
	InstallSnapshot func(meta *raftpb.SnapshotMetadata) error
	// Fatal is told once why this member cannot go on; it must not block.
	Fatal  func(error)
	Logger *slog.Logger
}

// Status is one moment of a node. Leader is 0 when none is known.
type Status struct {
	ID, Leader, Term, Committed, Applied uint64
	Learner                              bool
}

// IsLeader says whether this member leads, as far as it knows.
func (s Status) IsLeader() bool { return s.Leader == s.ID }

// Node is one member's share in the replication. Its methods may be called
// concurrently.
type Node struct {
	cfg     Config
	raw     *raft.RawNode // owned by loop
	entries *entryLog
	// installing is the entry of the last snapshot that raft took; owned by loop.
	// It is being installed while less has been applied.
	installing uint64

	inbox     inbox
	proposals proposals
	reads     reads
	appends   queue // to logWriter
	applies   queue // to applier

	metrics metrics

	wake       chan struct{} // pokes loop; capacity 1
	checkpoint chan struct{} // pokes checkpointer; capacity 1
	flushed    chan struct{} // pokes an applier that waits for a flush; capacity 1
	flushes    flushes
	installed  chan struct{} // applier to logWriter: the snapshot is in place; capacity 1
	release    atomic.Uint64 // log up to this index may go; set by checkpointer, read by logWriter

	appliedTerm uint64 // of the last entry; owned by applier

	probes []chan struct{} // of Alive, in order; owned by loop

	status  atomic.Pointer[Status] // written by loop; Applied and Learner are kept apart
	applied atomic.Uint64          // written by applier
	settled atomic.Uint64          // what raft knows to be applied, and never reads again; written by loop

	changedMu sync.Mutex
	changed   chan struct{} // closed and replaced by loop when leader or term change

	fatal sync.Once
	stop  context.CancelFunc
	ctx   context.Context
	done  sync.WaitGroup
}

const (
	// maxMessageBytes bounds the entries of one append message and of one
	// proposal batch.
	maxMessageBytes = 1 << 20
	// maxApplyBytes bounds committed entries handed to the applier at a time.
	maxApplyBytes = 8 << 20
	// maxUncommittedBytes bounds a leader's log beyond the commit index.
	maxUncommittedBytes = 256 << 20
	maxInflightMessages = 512
	maxInflightBytes    = 64 << 20
)

// Start begins to take part in the cluster.
func Start(cfg Config) (*Node, error) {
	entries, err := newEntryLog(cfg)
	if err != nil {
		return nil, err
	}
	applied, appliedTerm := cfg.StateMachine.Applied()
	raw, err := raft.NewRawNode(&raft.Config{
		ID:                        cfg.ID,
		ElectionTick:              cfg.ElectionTicks,
		HeartbeatTick:             cfg.HeartbeatTicks,
		Storage:                   entries,
		Applied:                   applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             maxMessageBytes,
		MaxCommittedSizePerReady:  maxApplyBytes,
		MaxUncommittedEntriesSize: maxUncommittedBytes,
		MaxInflightMsgs:           maxInflightMessages,
		MaxInflightBytes:          maxInflightBytes,
		CheckQuorum:               true,
		PreVote:                   cfg.PreVote,
		StepDownOnRemoval:         true,
		Logger:                    raftLogger{cfg.Logger},
	})
	if err != nil {
		return nil, fmt.Errorf("raftnode: start raft: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &Node{
		cfg:         cfg,
		raw:         raw,
		entries:     entries,
		proposals:   newProposals(rand.Uint64()),
		reads:       newReads(),
		metrics:     newMetrics(),
		appends:     newQueue(),
		applies:     newQueue(),
		wake:        make(chan struct{}, 1),
		checkpoint:  make(chan struct{}, 1),
		flushed:     make(chan struct{}, 1),
		installed:   make(chan struct{}, 1),
		changed:     make(chan struct{}),
		appliedTerm: appliedTerm,
		stop:        cancel,
		ctx:         ctx,
	}
	n.applied.Store(applied)
	n.settled.Store(applied)
	n.publishStatus()
	if voters := cfg.StateMachine.ConfState().GetVoters(); len(voters) == 1 && voters[0] == cfg.ID {
		// Nobody else can lead: do not sit out an election timeout.
		if err := raw.Campaign(); err != nil {
			return nil, fmt.Errorf("raftnode: campaign: %w", err)
		}
	}
	n.done.Go(n.loop)
	n.done.Go(n.writeLog)
	n.done.Go(n.apply)
	n.done.Go(n.runCheckpoints)
	return n, nil
}

// Stop ends all goroutines and fails what waits with ErrStopped. The log
// belongs to the caller again when it returns.
func (n *Node) Stop() {
	n.stop()
	n.done.Wait()
}

// Retire ends all requests, present and future, with ErrStopped. The member goes
// on to vote and to replicate until Stop.
func (n *Node) Retire() {
	n.do(func() {
		n.reads.fail(ErrStopped)
		n.proposals.fail(ErrStopped)
	})
}

// Step takes a message from another member. It never blocks: beyond a bound
// messages are dropped, as a network may.
func (n *Node) Step(_ context.Context, m *raftpb.Message) error {
	if raft.IsLocalMsg(m.GetType()) || raft.IsLocalMsgTarget(m.GetFrom()) {
		return fmt.Errorf("raftnode: a peer sent a local message of type %s", m.GetType())
	}
	if n.inbox.putPeer(m) {
		poke(n.wake)
	}
	return nil
}

// StepSnapshot takes the announcement of a snapshot that lies ready to be
// installed, and says whether it must stay there for InstallSnapshot: raft does
// not want one of an old term, or that tells nothing new. With ErrStopped that is
// open, and wanted is true.
func (n *Node) StepSnapshot(m *raftpb.Message) (wanted bool, err error) {
	answer := make(chan bool, 1)
	n.do(func() {
		// Its errors are of messages that no longer matter.
		_ = n.raw.Step(m)
		n.handleReadies()
		index := m.GetSnapshot().GetMetadata().GetIndex()
		// One that raft did not take now may be one that it took before.
		answer <- index <= n.installing && n.applied.Load() < index
	})
	select {
	case wanted = <-answer:
		return wanted, nil
	case <-n.ctx.Done():
		return true, ErrStopped
	}
}

// ReportUnreachable says that a message to a member was lost.
func (n *Node) ReportUnreachable(id uint64) {
	n.do(func() { n.raw.ReportUnreachable(id) })
}

// ReportSnapshot says how sending a snapshot to a member ended.
func (n *Node) ReportSnapshot(id uint64, ok bool) {
	status := raft.SnapshotFinish
	if !ok {
		status = raft.SnapshotFailure
	}
	n.do(func() { n.raw.ReportSnapshot(id, status) })
}

// Status returns the node's present state.
func (n *Node) Status() Status {
	s := *n.status.Load()
	s.Applied = n.applied.Load()
	s.Learner = slices.Contains(n.cfg.StateMachine.ConfState().GetLearners(), n.cfg.ID)
	return s
}

// Changed returns a channel that is closed at the next change of leader or
// term. Take it before Status, so that no change falls between.
func (n *Node) Changed() <-chan struct{} {
	n.changedMu.Lock()
	defer n.changedMu.Unlock()
	return n.changed
}

// do runs f on the loop, soon.
func (n *Node) do(f func()) {
	n.inbox.putCall(f)
	poke(n.wake)
}

// loop owns the RawNode.
func (n *Node) loop() {
	defer n.reads.fail(ErrStopped)
	defer n.proposals.fail(ErrStopped)
	ticker := time.NewTicker(n.cfg.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case now := <-ticker.C:
			n.metrics.ticked(now, n.cfg.Tick, n.status.Load().IsLeader())
			n.raw.Tick()
			n.reads.tick()
			n.proposals.tick()
			n.expireRequests(now)
		case <-n.wake:
		}
		n.stepInbox()
		n.startReads()
		n.proposeWaiting()
		n.proposeChange()
		n.handleReadies()
	}
}

func (n *Node) handleReadies() {
	for n.raw.HasReady() {
		n.handleReady(n.raw.Ready())
	}
}

func (n *Node) stepInbox() {
	msgs, calls := n.inbox.take()
	for _, f := range calls {
		f()
	}
	for _, m := range msgs {
		if m.GetType() == raftpb.MsgStorageAppendResp && m.Context != nil {
			n.answerProbe()
			continue
		}
		if !raft.IsLocalMsgTarget(m.GetFrom()) && m.GetFrom() != n.cfg.ID {
			n.metrics.received(m)
		}
		// The only errors are of messages that no longer matter: a response
		// from a member that is gone, a proposal with no leader to take it.
		_ = n.raw.Step(m)
		if m.GetType() == raftpb.MsgStorageApplyResp {
			n.settled.Store(n.raw.BasicStatus().Applied)
		}
	}
}

func (n *Node) handleReady(rd raft.Ready) {
	if rd.SoftState != nil || !raft.IsEmptyHardState(rd.HardState) {
		if n.publishStatus() {
			n.reads.leaderChanged()
			n.startReads()
		}
	}
	for _, rs := range rd.ReadStates {
		n.finishRead(rs)
	}
	var remote []*raftpb.Message
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			n.installing = max(n.installing, m.GetSnapshot().GetMetadata().GetIndex())
			n.appends.put(m)
		case raft.LocalApplyThread:
			n.applies.put(m)
		default:
			remote = append(remote, m)
		}
	}
	if len(remote) > 0 {
		n.metrics.beat(remote)
		n.send(remote)
	}
}

// publishStatus makes the RawNode's state visible and tells of a new leader or term.
func (n *Node) publishStatus() (changed bool) {
	basic := n.raw.BasicStatus()
	now := &Status{
		ID:        n.cfg.ID,
		Leader:    basic.Lead,
		Term:      basic.HardState.GetTerm(),
		Committed: basic.HardState.GetCommit(),
	}
	before := n.status.Swap(now)
	if before != nil && before.Leader == now.Leader && before.Term == now.Term {
		return false
	}
	n.metrics.led(before, now.Leader)
	n.cfg.Logger.Info("raft state", "state", basic.RaftState.String(), "term", now.Term, "leader", fmt.Sprintf("%x", now.Leader))
	n.changedMu.Lock()
	defer n.changedMu.Unlock()
	close(n.changed)
	n.changed = make(chan struct{})
	return true
}

// deliver hands on the responses of a finished storage message: to this
// node's own loop or to other members.
func (n *Node) deliver(responses []*raftpb.Message) {
	var remote []*raftpb.Message
	local := false
	for _, m := range responses {
		if m.GetTo() == n.cfg.ID {
			n.inbox.putLocal(m)
			local = true
		} else {
			remote = append(remote, m)
		}
	}
	if len(remote) > 0 {
		n.send(remote)
	}
	if local {
		poke(n.wake)
	}
}

// fail reports why this member cannot go on and stops it. That it was stopped is
// no failure.
func (n *Node) fail(err error) {
	if errors.Is(err, ErrStopped) {
		return
	}
	n.fatal.Do(func() {
		n.stop()
		n.cfg.Fatal(err)
	})
}

// poke leaves a token in a channel of capacity 1.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
