package raftnode_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

var errRefused = errors.New("refused")

// CheckMembership admits what changes something: members come, are promoted
// and go once.
func (m *machine) CheckMembership(_ uint64, req proto.Message) error {
	s := m.state()
	ok := false
	switch r := req.(type) {
	case *coordpb.MemberAddRequest:
		id := r.Member.Id
		ok = !slices.Contains(s.removed, id) && !slices.Contains(s.conf.Voters, id) && !slices.Contains(s.conf.Learners, id)
	case *pb.MemberRemoveRequest:
		ok = slices.Contains(s.conf.Learners, r.ID) || slices.Contains(s.conf.Voters, r.ID) && len(s.conf.Voters) > 1
	case *pb.MemberPromoteRequest:
		ok = slices.Contains(s.conf.Learners, r.ID)
	}
	if !ok {
		return errRefused
	}
	return nil
}

func (m *machine) ApplyMembership(index, term uint64, req proto.Message, cs *raftpb.ConfState) proto.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	if index != m.now.index+1 {
		panic(fmt.Sprintf("entry %d applied after %d", index, m.now.index))
	}
	m.now.index, m.now.term, m.now.conf = index, term, cs
	if r, ok := req.(*pb.MemberRemoveRequest); ok {
		m.now.removed = append(m.now.removed, r.ID)
	}
	return &pb.MemberListResponse{}
}

func addMember(id uint64, learner bool) *coordpb.MemberAddRequest {
	return &coordpb.MemberAddRequest{Member: &coordpb.Member{Id: id, IsLearner: learner}}
}

// mustChange proposes a change that must go through.
func mustChange(t *testing.T, m *member, req proto.Message) {
	t.Helper()
	if _, err := m.node.ProposeConfChange(t.Context(), req); err != nil {
		t.Fatalf("%T at member %d: %v", req, m.id, err)
	}
}

// awaitConf waits until a member has applied a configuration of these voters.
func awaitConf(t *testing.T, m *member, voters ...uint64) {
	t.Helper()
	var got []uint64
	for range 1000 {
		if got = m.machine.ConfState().GetVoters(); slices.Equal(got, voters) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("member %d has voters %v, want %v", m.id, got, voters)
}

// write puts keys at a member until the test stops it, and counts. Errors that
// leave open what became of a put are no failure.
func write(t *testing.T, m *member, prefix string) (stop func() (acknowledged int)) {
	ctx, cancel := context.WithCancel(t.Context())
	count := 0
	var running sync.WaitGroup
	running.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			time.Sleep(time.Millisecond) // ten entries are kept for who lags; more than that takes a snapshot again
			_, err := put(ctx, m, fmt.Sprintf("%s%d", prefix, i))
			switch {
			case err == nil:
				count++
			case ctx.Err() == nil && !errors.Is(err, raftnode.ErrLeaderChanged) && !errors.Is(err, raftnode.ErrTimeout) && !errors.Is(err, raftnode.ErrNoLeader):
				t.Errorf("put at member %d: %v", m.id, err)
				return
			}
		}
	})
	return func() int {
		cancel()
		running.Wait()
		return count
	}
}

// TestMemberComesAndGoes: a member is added as a learner, promoted, and another
// removed, each asked of a follower and while others write.
func TestMemberComesAndGoes(t *testing.T) {
	n := newNetwork(t, 3)
	leader := n.leader()
	follower, other := n.members[leader.id%3+1], n.members[(leader.id+1)%3+1]
	stop := write(t, leader, "w")
	defer stop()
	mustChange(t, follower, addMember(4, true))
	joined := n.join(4)
	if err := retry(t, func() error { return joined.node.ReadIndex(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	if !joined.node.Status().Learner {
		t.Error("the member that joined is no learner")
	}
	mustChange(t, follower, &pb.MemberPromoteRequest{ID: 4})
	awaitConf(t, joined, 1, 2, 3, 4)
	if joined.node.Status().Learner {
		t.Error("the promoted member is a learner still")
	}
	mustChange(t, follower, &pb.MemberRemoveRequest{ID: other.id})
	n.stop(other)
	if count := stop(); count == 0 {
		t.Error("no put went through beside the changes")
	}
	want := leader.machine.state().keys
	for _, m := range []*member{leader, follower, joined} {
		if err := m.node.ReadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
		// The put that was cut off may come behind.
		if got := m.machine.state().keys; len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			t.Errorf("member %d has %d keys, the leader had %d", m.id, len(got), len(want))
		}
	}
}

// Many members ask for changes at once; raft drops most of what it is asked
// while one is under way, and yet all go through, once each.
func TestChangesAtOnce(t *testing.T) {
	n := newNetwork(t, 3)
	n.leader()
	var asking sync.WaitGroup
	for id := uint64(10); id < 16; id++ {
		for _, m := range n.members {
			asking.Go(func() {
				_, err := m.node.ProposeConfChange(t.Context(), addMember(id, true))
				if err != nil && !errors.Is(err, errRefused) {
					t.Errorf("add %d at member %d: %v", id, m.id, err)
				}
			})
		}
	}
	asking.Wait()
	for _, m := range n.members {
		if err := m.node.ReadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.machine.ConfState().GetLearners(); len(got) != 6 {
			t.Errorf("member %d has learners %v, want six", m.id, got)
		}
	}
}

func TestRefusedChangeIsNone(t *testing.T) {
	n := newNetwork(t, 1)
	m := n.leader()
	if _, err := m.node.ProposeConfChange(t.Context(), &pb.MemberRemoveRequest{ID: 1}); !errors.Is(err, errRefused) {
		t.Errorf("removing the last voter: %v, want what the state machine says", err)
	}
	if _, err := m.node.ProposeConfChange(t.Context(), &pb.PutRequest{}); err == nil {
		t.Error("a put is taken for a change of the configuration")
	}
	mustPut(t, m, "after")
}

// A leader that removes itself: the others choose another, and have lost nothing.
func TestLeaderRemovesItself(t *testing.T) {
	n := newNetwork(t, 3)
	old := n.leader()
	mustPut(t, old, "before")
	mustChange(t, old, &pb.MemberRemoveRequest{ID: old.id})
	next := n.leader(old.id)
	n.stop(old)
	mustPut(t, next, "after")
	if keys := next.machine.state().keys; !slices.Equal(keys, []string{"before", "after"}) {
		t.Errorf("keys %q", keys)
	}
	if voters := next.machine.ConfState().GetVoters(); slices.Contains(voters, old.id) || len(voters) != 2 {
		t.Errorf("voters %v, without %d", voters, old.id)
	}
}

// A member that was cut off while it was removed does not disturb the others
// when it is back, and neither reads nor writes.
func TestMemberRemovedWhileCutOff(t *testing.T) {
	n := newNetwork(t, 3)
	leader := n.leader()
	gone := n.members[leader.id%3+1]
	n.setCut(gone.id, true)
	mustChange(t, leader, &pb.MemberRemoveRequest{ID: gone.id})
	term := leader.node.Status().Term
	n.setCut(gone.id, false)
	if _, err := put(t.Context(), gone, "never"); err == nil {
		t.Error("a removed member writes")
	}
	if now := leader.node.Status(); now.Term != term || !now.IsLeader() {
		t.Errorf("term %d and leader %d after the removed member is back, were %d and %d", now.Term, now.Leader, term, leader.id)
	}
}

// A change of members outlives a crash together with what was applied before it.
func TestChangesAreReplayed(t *testing.T) {
	n := newNetwork(t, 1)
	m := n.leader()
	for round := range uint64(4) {
		mustPut(t, m, fmt.Sprint(round))
		mustChange(t, m, addMember(10+round, true))
		n.stop(m)
		m.machine.crash()
		m.fs.Crash(round)
		n.start(m)
		if err := m.node.ReadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.machine.ConfState().GetLearners(); len(got) != int(round)+1 {
			t.Fatalf("learners %v after %d were added", got, round+1)
		}
	}
}

func TestLeadershipMoves(t *testing.T) {
	n := newNetwork(t, 3)
	for range 5 {
		old := n.leader()
		to := n.members[old.id%3+1]
		asked := n.members[(old.id+1)%3+1] // a third one
		stop := write(t, old, fmt.Sprint(old.node.Status().Term, "/"))
		if err := asked.node.TransferLeader(t.Context(), to.id); err != nil {
			t.Fatal(err)
		}
		if now := n.leader(); now != to {
			t.Fatalf("member %d leads, leadership was to move to %d", now.id, to.id)
		}
		stop()
	}
	leader := n.leader()
	if err := leader.node.TransferLeader(t.Context(), leader.id); err != nil {
		t.Errorf("moving leadership to the leader: %v", err)
	}
	n.setCut(leader.id%3+1, true)
	if err := leader.node.TransferLeader(t.Context(), leader.id%3+1); !errors.Is(err, raftnode.ErrTransferFailed) {
		t.Errorf("moving leadership to one that is cut off: %v, want ErrTransferFailed", err)
	}
	mustPut(t, leader, "after")
}

func TestProgressIsTheLeaders(t *testing.T) {
	n := newNetwork(t, 3)
	leader := n.leader()
	mustPut(t, leader, "k")
	all, err := leader.node.Progress(t.Context())
	if err != nil || len(all) != 3 || all[leader.id].Match < 3 {
		t.Errorf("progress %v, %v: want three members and the leader at its last entry", all, err)
	}
	if _, err := n.members[leader.id%3+1].node.Progress(t.Context()); !errors.Is(err, raftnode.ErrNotLeader) {
		t.Errorf("progress at a follower: %v, want ErrNotLeader", err)
	}
}
