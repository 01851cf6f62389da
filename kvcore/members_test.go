package kvcore

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
)

// threeMembers returns a store of members 1 and 2, voters, and 3, a learner,
// after entry 1.
func threeMembers(t *testing.T) *Store {
	t.Helper()
	s, err := Open(backend.NewMemory(), Defaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	err = s.Bootstrap(1, 1, &raftpb.ConfState{Voters: []uint64{1, 2}, Learners: []uint64{3}}, []*coordpb.Member{
		{Id: 1, Name: "a", PeerUrls: []string{"http://a:1"}},
		{Id: 2, Name: "b", PeerUrls: []string{"http://b:1"}},
		{Id: 3, PeerUrls: []string{"http://c:1"}, IsLearner: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestChangesOfMembersAreRefused(t *testing.T) {
	s := threeMembers(t)
	s.ApplyMembership(2, 1, &pb.MemberRemoveRequest{ID: 2}, &raftpb.ConfState{Voters: []uint64{1}, Learners: []uint64{3}})
	add := func(id uint64, url string, learner bool) *coordpb.MemberAddRequest {
		return &coordpb.MemberAddRequest{MaxLearners: 1, Member: &coordpb.Member{Id: id, PeerUrls: []string{url}, IsLearner: learner}}
	}
	for name, c := range map[string]struct {
		req  proto.Message
		want error
	}{
		"add one there is":          {add(1, "http://d:1", false), ErrMemberExists},
		"add one that was removed":  {add(2, "http://d:1", false), ErrMemberRemoved},
		"add at another's URL":      {add(4, "http://a:1", false), ErrPeerURLExists},
		"add one learner too many":  {add(4, "http://d:1", true), ErrTooManyLearners},
		"add a voter":               {add(4, "http://d:1", false), nil},
		"add at a removed one's":    {add(4, "http://b:1", false), nil},
		"remove the last voter":     {&pb.MemberRemoveRequest{ID: 1}, ErrLastVoter},
		"remove again":              {&pb.MemberRemoveRequest{ID: 2}, ErrMemberRemoved},
		"remove a learner":          {&pb.MemberRemoveRequest{ID: 3}, nil},
		"remove a stranger":         {&pb.MemberRemoveRequest{ID: 9}, ErrMemberNotFound},
		"promote a voter":           {&pb.MemberPromoteRequest{ID: 1}, ErrNotLearner},
		"promote a learner":         {&pb.MemberPromoteRequest{ID: 3}, nil},
		"promote a stranger":        {&pb.MemberPromoteRequest{ID: 9}, ErrMemberNotFound},
		"promote one removed":       {&pb.MemberPromoteRequest{ID: 2}, ErrMemberRemoved},
		"what changes no member":    {&pb.PutRequest{Key: []byte("k")}, ErrMalformed},
		"an update, which needs no": {&pb.MemberUpdateRequest{ID: 1}, ErrMalformed},
	} {
		if err := s.CheckMembership(3, c.req); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestMembersChangedTells(t *testing.T) {
	s := threeMembers(t)
	changed := s.MembersChanged()
	s.Apply(2, 1, []proto.Message{&pb.PutRequest{Key: []byte("k")}})
	select {
	case <-changed:
		t.Error("a put is told as a change of members")
	default:
	}
	s.Apply(3, 1, []proto.Message{&pb.MemberUpdateRequest{ID: 3, PeerURLs: []string{"http://d:1"}}})
	<-changed
	if got := s.Members()[2].PeerUrls[0]; got != "http://d:1" {
		t.Errorf("member 3 is at %s", got)
	}
}

// What was forced counts for the log that is there, and not for what comes after.
func TestForceRefusesOldChanges(t *testing.T) {
	s := threeMembers(t)
	if err := s.Force(&coordpb.Member{Id: 2, Name: "b", PeerUrls: []string{"http://new:1"}}, 5); err != nil {
		t.Fatal(err)
	}
	if index, _ := s.Applied(); index != 1 {
		t.Errorf("applied %d, want 1: forcing applies nothing", index)
	}
	s = reopen(t, s)
	members := s.Members()
	if len(members) != 1 || members[0].Id != 2 || members[0].PeerUrls[0] != "http://new:1" || members[0].Name != "b" {
		t.Errorf("members %v, want 2 alone", members)
	}
	if voters := s.ConfState().Voters; len(voters) != 1 || voters[0] != 2 {
		t.Errorf("voters %v, want 2 alone", voters)
	}
	if !s.Removed(1) || !s.Removed(3) || s.Removed(2) {
		t.Error("1 and 3 shall be removed, 2 not")
	}
	add := &coordpb.MemberAddRequest{Member: &coordpb.Member{Id: 4, PeerUrls: []string{"http://d:1"}}}
	if err := s.CheckMembership(5, add); !errors.Is(err, ErrForcedAway) {
		t.Errorf("a change of the old log: %v, want ErrForcedAway", err)
	}
	update := &pb.MemberUpdateRequest{ID: 2, PeerURLs: []string{"http://old:1"}}
	if r := s.Apply(5, 1, []proto.Message{update}); !errors.Is(r[0].Err, ErrForcedAway) {
		t.Errorf("an update of the old log: %v, want ErrForcedAway", r[0].Err)
	}
	if err := s.CheckMembership(6, add); err != nil {
		t.Errorf("a new change: %v", err)
	}
}

// A member that was removed itself may be forced to go on alone.
func TestForceReadmits(t *testing.T) {
	s := threeMembers(t)
	s.ApplyMembership(2, 1, &pb.MemberRemoveRequest{ID: 2}, &raftpb.ConfState{Voters: []uint64{1}, Learners: []uint64{3}})
	if err := s.Force(&coordpb.Member{Id: 2, PeerUrls: []string{"http://b:1"}}, 2); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	if s.Removed(2) || len(s.Members()) != 1 || s.Members()[0].Id != 2 {
		t.Errorf("members %v, want 2 alone", s.Members())
	}
}

// reopen opens what a store has flushed.
func reopen(t *testing.T, s *Store) *Store {
	t.Helper()
	again, err := Open(s.view.Load().backend.Backend, Defaults())
	if err != nil {
		t.Fatal(err)
	}
	return again
}
