package kvtest

import (
	"fmt"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
)

// reconfigure applies a request about members.
func (m *Model) reconfigure(req proto.Message) (proto.Message, error) {
	switch r := req.(type) {
	case *coordpb.MemberAddRequest:
		return m.addMember(r)
	case *pb.MemberRemoveRequest:
		if err := m.existing(r.ID); err != nil {
			return nil, err
		}
		if voters := m.ConfState().Voters; slices.Equal(voters, []uint64{r.ID}) {
			return nil, kvcore.ErrLastVoter
		}
		delete(m.Members, r.ID)
		m.Removed[r.ID] = true
		return &pb.MemberRemoveResponse{Members: m.shown()}, nil
	case *pb.MemberPromoteRequest:
		if err := m.existing(r.ID); err != nil {
			return nil, err
		}
		if !m.Members[r.ID].IsLearner {
			return nil, kvcore.ErrNotLearner
		}
		m.Members[r.ID].IsLearner = false
		return &pb.MemberPromoteResponse{Members: m.shown()}, nil
	case *pb.MemberUpdateRequest:
		if err := m.existing(r.ID); err != nil {
			return nil, err
		}
		if m.taken(r.ID, r.PeerURLs) {
			return nil, kvcore.ErrPeerURLExists
		}
		m.Members[r.ID].PeerUrls = r.PeerURLs
		return &pb.MemberUpdateResponse{Members: m.shown()}, nil
	case *coordpb.MemberPublishRequest:
		if member := m.Members[r.Id]; member != nil {
			member.Name, member.ClientUrls = r.Name, r.ClientUrls
		}
		return &coordpb.MemberPublishResponse{}, nil
	}
	return m.changeUsers(req)
}

func (m *Model) addMember(r *coordpb.MemberAddRequest) (proto.Message, error) {
	id := r.Member.Id
	switch {
	case m.Removed[id]:
		return nil, kvcore.ErrMemberRemoved
	case m.Members[id] != nil:
		return nil, kvcore.ErrMemberExists
	case m.taken(id, r.Member.PeerUrls):
		return nil, kvcore.ErrPeerURLExists
	case r.Member.IsLearner && r.MaxLearners > 0 && len(m.ConfState().Learners) >= int(r.MaxLearners):
		return nil, kvcore.ErrTooManyLearners
	}
	m.Members[id] = proto.CloneOf(r.Member)
	return &pb.MemberAddResponse{Member: coordpb.EtcdMembers([]*coordpb.Member{r.Member})[0], Members: m.shown()}, nil
}

func (m *Model) existing(id uint64) error {
	switch {
	case m.Removed[id]:
		return kvcore.ErrMemberRemoved
	case m.Members[id] == nil:
		return kvcore.ErrMemberNotFound
	}
	return nil
}

// taken says whether another member than id has one of the URLs.
func (m *Model) taken(id uint64, urls []string) bool {
	for _, other := range m.Members {
		for _, url := range urls {
			if other.Id != id && slices.Contains(other.PeerUrls, url) {
				return true
			}
		}
	}
	return false
}

// sortedMembers returns copies of the members by rising id.
func (m *Model) sortedMembers() (members []*coordpb.Member) {
	for _, id := range slices.Sorted(maps.Keys(m.Members)) {
		members = append(members, proto.CloneOf(m.Members[id]))
	}
	return members
}

func (m *Model) shown() []*pb.Member { return coordpb.EtcdMembers(m.sortedMembers()) }

// ConfState returns the raft configuration of the members there are.
func (m *Model) ConfState() *raftpb.ConfState {
	cs := &raftpb.ConfState{AutoLeave: new(false)}
	for _, one := range m.sortedMembers() {
		if one.IsLearner {
			cs.Learners = append(cs.Learners, one.Id)
		} else {
			cs.Voters = append(cs.Voters, one.Id)
		}
	}
	return cs
}

// Change draws the one request of an entry that changes the raft configuration.
func (g *Generator) Change() proto.Message {
	switch n := g.IntN(10); {
	case n < 5:
		return &coordpb.MemberAddRequest{MaxLearners: uint32(g.IntN(3)), Member: &coordpb.Member{
			Id: 1 + g.Uint64N(60), PeerUrls: g.peerURLs(), IsLearner: g.IntN(2) == 0,
		}}
	case n < 7:
		return &pb.MemberRemoveRequest{ID: g.member()}
	default:
		return &pb.MemberPromoteRequest{ID: g.member()}
	}
}

// member draws a member's id, mostly of one there is.
func (g *Generator) member() uint64 {
	ids := slices.Sorted(maps.Keys(g.Model.Members))
	if len(ids) == 0 || g.IntN(5) == 0 {
		return 1 + g.Uint64N(60)
	}
	return ids[g.IntN(len(ids))]
}

func (g *Generator) peerURLs() []string {
	return []string{fmt.Sprint("http://localhost:", 1+g.IntN(8))}
}

// apply applies the entry as raftnode does.
func (e logged) apply(s *kvcore.Store) []kvcore.Result {
	if e.confState == nil {
		return s.Apply(e.index, e.term, e.reqs)
	}
	if err := s.CheckMembership(e.index, e.reqs[0]); err != nil {
		s.Apply(e.index, e.term, nil)
		return []kvcore.Result{{Err: err}}
	}
	return []kvcore.Result{{Response: s.ApplyMembership(e.index, e.term, e.reqs[0], e.confState)}}
}

// generateChange draws an entry that changes the raft configuration and applies
// it to the model.
func (r *Run) generateChange(g *Generator) expected {
	req := g.Change()
	e := expected{logged: logged{index: uint64(len(r.log) + 1), term: g.Term, reqs: []proto.Message{req}}}
	e.want = []kvcore.Result{r.Model.Apply(g.Term, req)}
	e.confState = r.Model.ConfState()
	return e
}

// compareMembers compares who is and who was a member. What Restore and a
// restart bring back counts as much as what was applied.
func (r *Run) compareMembers() error {
	want := r.Model.sortedMembers()
	if got := r.Store.Members(); !slices.EqualFunc(got, want, func(a, b *coordpb.Member) bool { return proto.Equal(a, b) }) {
		return fmt.Errorf("members %v, want %v", got, want)
	}
	for id := range uint64(61) {
		if got, want := r.Store.Removed(id), r.Model.Removed[id]; got != want {
			return fmt.Errorf("member %d removed: %t, want %t", id, got, want)
		}
	}
	// What becomes of a change that is refused is no business of the configuration.
	if got, want := r.Store.ConfState(), r.Model.ConfState(); got != nil && !proto.Equal(got, want) {
		return fmt.Errorf("configuration %v, want %v", got, want)
	}
	return nil
}
