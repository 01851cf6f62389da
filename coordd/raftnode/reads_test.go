package raftnode

import (
	"log/slog"
	"testing"

	"github.com/coordd/coordd/coordd/wal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// ask makes a round and returns it with raft's request for it.
func ask(t *testing.T, r *reads) (*readRound, []byte) {
	t.Helper()
	round, _, err := r.join()
	if err != nil {
		t.Fatal(err)
	}
	return round, r.next(true)
}

func finished(round *readRound) bool {
	select {
	case <-round.done:
		return true
	default:
		return false
	}
}

// The leader's answer to a member that was killed may reach the process that is
// started in its place. It is older than what was acknowledged in between.
func TestAnswerToEarlierProcessIsNone(t *testing.T) {
	before, after := newReads(), newReads()
	_, request := ask(t, &before)
	round, _ := ask(t, &after)
	after.answered(raft.ReadState{Index: 1, RequestCtx: request}, func() uint64 { return 1 })
	if finished(round) {
		t.Error("a read was answered with a commit index of before the start")
	}
}

// An answer that takes longer than the retry interval is one all the same: the
// leader must not be asked for ever.
func TestSlowAnswerToReadCounts(t *testing.T) {
	r := newReads()
	round, first := ask(t, &r)
	for range retryReadTicks {
		r.tick()
	}
	second := r.next(true)
	if second == nil {
		t.Fatal("the leader is not asked again")
	}
	applied := func() uint64 { return 5 }
	r.answered(raft.ReadState{Index: 5, RequestCtx: first}, applied)
	if !finished(round) {
		t.Error("the answer to the first request does not end the round")
	}
	next, _ := ask(t, &r)
	r.answered(raft.ReadState{Index: 5, RequestCtx: second}, applied)
	if finished(next) {
		t.Error("the second answer ends the round after its own")
	}
}

// still is a state machine to which nothing is applied.
type still struct {
	StateMachine
	conf *raftpb.ConfState
}

func (s still) Applied() (index, term uint64) { return 1, 1 }
func (s still) ConfState() *raftpb.ConfState  { return s.conf }

// newLeader elects a node without goroutines the leader of three, with its first
// entry in its own log and nowhere else.
func newLeader(t *testing.T) *Node {
	t.Helper()
	n, _ := newVoter(t)
	if err := n.raw.Campaign(); err != nil {
		t.Fatal(err)
	}
	writeAppends(t, n)
	step(t, n, &raftpb.Message{Type: raftpb.MsgVoteResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(2))})
	writeAppends(t, n)
	if n.raw.BasicStatus().Lead != 1 {
		t.Fatal("not elected")
	}
	return n
}

func step(t *testing.T, n *Node, m *raftpb.Message) {
	t.Helper()
	if err := n.raw.Step(m); err != nil {
		t.Fatal(err)
	}
}

// writeAppends does for the log what raft wants.
func writeAppends(t *testing.T, n *Node) {
	t.Helper()
	for n.raw.HasReady() {
		for _, m := range n.raw.Ready().Messages {
			if m.GetTo() != raft.LocalAppendThread {
				continue
			}
			if err := n.entries.append(m.GetEntries()); err != nil {
				t.Fatal(err)
			}
			for _, response := range m.GetResponses() {
				if response.GetTo() == 1 {
					step(t, n, response)
				}
			}
		}
	}
}

// A leader whose disk is slower than the others' learns of its commits before
// its own log has the entries, and under load finds itself there each time it looks.
func TestLeaderWithSlowDiskReads(t *testing.T) {
	n := newLeader(t)
	if n.canRead() {
		t.Error("a leader reads before an entry of its term is committed")
	}
	acknowledge := func(index uint64) {
		for _, follower := range []uint64{2, 3} {
			step(t, n, &raftpb.Message{Type: raftpb.MsgAppResp.Enum(), From: &follower, To: new(uint64(1)), Term: new(uint64(2)), Index: &index})
		}
	}
	acknowledge(2)
	if !n.canRead() {
		t.Error("a leader that has committed in its term does not read")
	}
	if err := n.raw.Propose([]byte("x")); err != nil {
		t.Fatal(err)
	}
	n.raw.Ready() // the log never gets it
	acknowledge(3)
	if commit := n.raw.BasicStatus().HardState.GetCommit(); commit != 3 {
		t.Fatalf("commit index %d, want 3", commit)
	}
	if !n.canRead() {
		t.Error("a leader whose log is behind its commit index does not read")
	}
}

// sent is a transport that keeps what it gets.
type sent struct{ msgs []*raftpb.Message }

func (s *sent) Send(msgs []*raftpb.Message) { s.msgs = append(s.msgs, msgs...) }

// A read of which the old leader was asked must not wait for the retry: the new
// one is asked as soon as it is known.
func TestReadIsAskedOfNewLeaderAtOnce(t *testing.T) {
	n, out := newVoter(t)
	lead := func(leader, term uint64) {
		step(t, n, &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: &leader, To: new(uint64(1)), Term: &term})
		n.handleReadies()
	}
	askedOf := func(leader uint64) (times int) {
		for _, m := range out.msgs {
			if m.GetType() == raftpb.MsgReadIndex && m.GetTo() == leader {
				times++
			}
		}
		return times
	}
	lead(2, 2)
	if _, _, err := n.reads.join(); err != nil {
		t.Fatal(err)
	}
	n.startReads()
	n.handleReadies()
	if askedOf(2) != 1 {
		t.Fatalf("the leader was asked %d times", askedOf(2))
	}
	lead(3, 3)
	lead(3, 3)
	if askedOf(2) != 1 || askedOf(3) != 1 {
		t.Errorf("the old leader was asked %d times, the new one %d", askedOf(2), askedOf(3))
	}
}

// newVoter returns one of three, without goroutines, and what it sends.
func newVoter(t *testing.T) (*Node, *sent) {
	t.Helper()
	out := new(sent)
	cfg := Config{
		ID:           1,
		Recovered:    &wal.Recovered{Snapshot: wal.Position{Index: 1, Term: 1}},
		StateMachine: still{conf: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}},
		Transport:    out,
		Logger:       slog.New(slog.DiscardHandler),
	}
	entries, err := newEntryLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := raft.NewRawNode(&raft.Config{
		ID: 1, ElectionTick: 10, HeartbeatTick: 1, Storage: entries, Applied: 1, AsyncStorageWrites: true,
		MaxSizePerMsg: maxMessageBytes, MaxInflightMsgs: maxInflightMessages, Logger: raftLogger{cfg.Logger},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Node{
		cfg: cfg, raw: raw, entries: entries, appends: newQueue(), applies: newQueue(),
		reads: newReads(), metrics: newMetrics(), changed: make(chan struct{}),
	}, out
}
