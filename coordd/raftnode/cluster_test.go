package raftnode_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/coordd/wal"
	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// machine is a state machine that remembers the keys put, in order. What was
// flushed outlives a crash.
type machine struct {
	before  func(index uint64) // if set, called before an entry is applied
	mu      sync.Mutex
	now     machineState
	flushed machineState
	flushes int
	history map[uint64]machineState // all that was ever flushed, by index
}

type machineState struct {
	keys        []string
	index, term uint64
	conf        *raftpb.ConfState
	removed     []uint64 // members
}

func newMachine(voters ...uint64) *machine {
	start := machineState{index: 1, term: 1, conf: &raftpb.ConfState{Voters: voters}}
	return &machine{now: start, flushed: start, history: map[uint64]machineState{}}
}

func (m *machine) Apply(index, term uint64, reqs []proto.Message) []kvcore.Result {
	if m.before != nil {
		m.before(index)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if index != m.now.index+1 {
		panic(fmt.Sprintf("entry %d applied after %d", index, m.now.index))
	}
	m.now.index, m.now.term = index, term
	results := make([]kvcore.Result, len(reqs))
	for i, req := range reqs {
		m.now.keys = append(m.now.keys, string(req.(*pb.PutRequest).Key))
		results[i].Response = &pb.PutResponse{Header: &pb.ResponseHeader{Revision: int64(len(m.now.keys))}}
	}
	return results
}

func (m *machine) state() machineState {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.now
	s.keys, s.removed = slices.Clone(s.keys), slices.Clone(s.removed)
	return s
}

func (m *machine) Applied() (index, term uint64) { s := m.state(); return s.index, s.term }
func (m *machine) ConfState() *raftpb.ConfState  { return m.state().conf }
func (m *machine) CompactStep(int) bool          { return false }
func (m *machine) Unflushed() int                { return 0 }

func (m *machine) Flush() (uint64, error) {
	s := m.state()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flushed = s
	m.flushes++
	m.history[s.index] = s
	return s.index, nil
}

// crash forgets what was not flushed.
func (m *machine) crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.flushed
	m.now.keys = slices.Clone(m.flushed.keys)
}

// member is one node with its disk.
type member struct {
	id      uint64
	fs      *disk.Memory
	machine *machine
	node    *raftnode.Node
	log     *wal.Log
	fatal   chan error // capacity 1
}

// network connects members; cut members neither send nor receive.
type network struct {
	t       *testing.T
	members map[uint64]*member

	installing func() // if set, called before a snapshot is installed

	mu  sync.Mutex
	cut map[uint64]bool
}

func newNetwork(t *testing.T, size int) *network {
	n := &network{t: t, members: map[uint64]*member{}, cut: map[uint64]bool{}}
	var voters []uint64
	for id := range uint64(size) {
		voters = append(voters, id+1)
	}
	for _, id := range voters {
		n.members[id] = newMember(t, id, newMachine(voters...), wal.Position{Index: 1, Term: 1})
	}
	for _, m := range n.members {
		n.start(m)
	}
	t.Cleanup(func() {
		for _, m := range n.members {
			n.stop(m)
		}
	})
	return n
}

// newMember makes a member's log, which begins behind a position.
func newMember(t *testing.T, id uint64, machine *machine, first wal.Position) *member {
	t.Helper()
	m := &member{id: id, fs: disk.NewMemory(), machine: machine}
	log, err := wal.Create(m.fs, "wal", nil, first, &raftpb.HardState{Term: &first.Term, Vote: new(uint64(0)), Commit: &first.Index})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// join runs a member that knows nothing yet.
func (n *network) join(id uint64) *member {
	n.t.Helper()
	machine := newMachine()
	machine.now, machine.flushed = machineState{}, machineState{}
	m := newMember(n.t, id, machine, wal.Position{})
	n.mu.Lock()
	n.members[id] = m
	n.mu.Unlock()
	n.start(m)
	return m
}

// start runs a member on what its disk holds.
func (n *network) start(m *member) {
	n.t.Helper()
	log, recovered, err := wal.Open(m.fs, "wal")
	if err != nil {
		n.t.Fatal(err)
	}
	m.log, m.fatal = log, make(chan error, 1)
	node, err := raftnode.Start(raftnode.Config{
		ID: m.id, Tick: 10 * time.Millisecond, HeartbeatTicks: 1, ElectionTicks: 10, PreVote: true,
		RequestTimeout: time.Second, CatchUpBytes: 1 << 20, CatchUpEntries: 10,
		CompactLimit: 1000,
		Log:          log, Recovered: recovered, StateMachine: m.machine, Transport: link{n, m.id},
		InstallSnapshot: func(meta *raftpb.SnapshotMetadata) error { return n.install(m, meta) },
		Fatal:           func(err error) { m.fatal <- err },
		Logger:          slog.New(slog.DiscardHandler),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m.node = node
}

func (n *network) stop(m *member) {
	n.mu.Lock()
	node := m.node
	m.node = nil
	n.mu.Unlock()
	if node == nil {
		return
	}
	node.Stop()
	m.log.Close() // a member that failed has failed its log before
}

// install copies the state that any member has flushed at the index asked for.
func (n *network) install(to *member, meta *raftpb.SnapshotMetadata) error {
	if n.installing != nil {
		n.installing()
	}
	for _, m := range n.all() {
		m.machine.mu.Lock()
		s, ok := m.machine.history[meta.GetIndex()]
		m.machine.mu.Unlock()
		if !ok || m == to {
			continue
		}
		to.machine.mu.Lock()
		defer to.machine.mu.Unlock()
		s.keys, s.removed = slices.Clone(s.keys), slices.Clone(s.removed)
		to.machine.now, to.machine.flushed = s, s
		return nil
	}
	return fmt.Errorf("nobody has the snapshot of entry %d", meta.GetIndex())
}

func (n *network) all() []*member {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.members))
}

func (n *network) setCut(id uint64, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[id] = cut
}

// link is the transport of one member.
type link struct {
	network *network
	from    uint64
}

func (l link) Send(msgs []*raftpb.Message) {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	for _, m := range msgs {
		to := l.network.members[m.GetTo()]
		if to == nil || to.node == nil || l.network.cut[l.from] || l.network.cut[to.id] {
			continue
		}
		if err := to.node.Step(context.Background(), proto.CloneOf(m)); err != nil {
			panic(err)
		}
		if m.GetType() == raftpb.MsgSnap {
			l.network.members[l.from].node.ReportSnapshot(to.id, true)
		}
	}
}

// leader waits until all members but those excluded follow one of them.
func (n *network) leader(except ...uint64) *member {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 30*time.Second)
	defer cancel()
	for {
		var changed <-chan struct{}
		leaders := map[uint64]bool{}
		for id, m := range n.members {
			if slices.Contains(except, id) || m.node == nil {
				continue
			}
			next := m.node.Changed()
			leader := m.node.Status().Leader
			leaders[leader] = true
			if changed == nil || leader == 0 || slices.Contains(except, leader) {
				changed = next
			}
		}
		if len(leaders) == 1 {
			for id := range leaders {
				if id != 0 && !slices.Contains(except, id) {
					return n.members[id]
				}
			}
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond): // another member's view changed
		case <-ctx.Done():
			n.t.Fatal("no leader")
		}
	}
}

// put proposes a key at a member and returns the answer's revision.
func put(ctx context.Context, m *member, key string) (int64, error) {
	resp, err := m.node.Propose(ctx, &pb.PutRequest{Key: []byte(key)})
	if err != nil {
		return 0, err
	}
	return resp.(*pb.PutResponse).Header.Revision, nil
}

// mustPut is put where it must go through.
func mustPut(t *testing.T, m *member, key string) int64 {
	t.Helper()
	revision, err := put(t.Context(), m, key)
	if err != nil {
		t.Fatalf("put %s at member %d: %v", key, m.id, err)
	}
	return revision
}

// A snapshot that tells nothing new, or comes from a leader that is gone, is not wanted.
func TestSnapshotsThatAreNotWanted(t *testing.T) {
	n := newNetwork(t, 3)
	leader := n.leader()
	mustPut(t, leader, "a")
	follower := n.members[leader.id%3+1]
	if err := follower.node.ReadIndex(t.Context()); err != nil {
		t.Fatal(err)
	}
	status := follower.node.Status()
	for name, m := range map[string]*raftpb.Message{
		"nothing new": snapshotOf(status.Term, status.Committed, leader.id, follower.id),
		"old term":    snapshotOf(status.Term-1, status.Committed+100, leader.id, follower.id),
	} {
		if wanted, err := follower.node.StepSnapshot(m); wanted || err != nil {
			t.Errorf("%s: wanted %t, %v", name, wanted, err)
		}
	}
	follower.node.Stop()
	if wanted, err := follower.node.StepSnapshot(snapshotOf(status.Term, status.Committed+100, leader.id, follower.id)); !wanted || !errors.Is(err, raftnode.ErrStopped) {
		t.Errorf("after the end: wanted %t, %v", wanted, err)
	}
}

func snapshotOf(term, index, from, to uint64) *raftpb.Message {
	return &raftpb.Message{
		Type: raftpb.MsgSnap.Enum(), From: new(from), To: new(to), Term: new(term),
		Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
			Index: new(index), Term: new(term), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}},
		}},
	}
}
