package kvcore

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
)

// membership is who is in the cluster, and who was, at one moment. It never changes.
type membership struct {
	members []*coordpb.Member // by rising id
	removed map[uint64]struct{}
	changed chan struct{} // closed once this is history
}

func newMembership() *membership {
	return &membership{removed: map[uint64]struct{}{}, changed: make(chan struct{})}
}

// next returns a copy to change before it becomes the store's.
func (m *membership) next() *membership {
	return &membership{members: slices.Clone(m.members), removed: maps.Clone(m.removed), changed: make(chan struct{})}
}

func (m *membership) find(id uint64) *coordpb.Member {
	i := slices.IndexFunc(m.members, func(one *coordpb.Member) bool { return one.Id == id })
	if i < 0 {
		return nil
	}
	return m.members[i]
}

func (m *membership) put(one *coordpb.Member) {
	m.members = slices.DeleteFunc(m.members, func(o *coordpb.Member) bool { return o.Id == one.Id })
	m.members = append(m.members, one)
	slices.SortFunc(m.members, func(a, b *coordpb.Member) int { return cmp.Compare(a.Id, b.Id) })
}

func (m *membership) remove(id uint64) {
	m.members = slices.DeleteFunc(m.members, func(o *coordpb.Member) bool { return o.Id == id })
	m.removed[id] = struct{}{}
}

// Members returns the records of members by rising id. They must not be changed.
func (s *Store) Members() []*coordpb.Member { return slices.Clone(s.members.Load().members) }

// Removed says whether a member was in the cluster once and is no longer. Ids
// are never used again.
func (s *Store) Removed(id uint64) bool {
	_, removed := s.members.Load().removed[id]
	return removed
}

// MembersChanged returns a channel that is closed at the next change of
// Members or Removed. Take it before them, so that no change falls between.
func (s *Store) MembersChanged() <-chan struct{} { return s.members.Load().changed }

// CheckMembership says why a change of the raft configuration cannot be
// applied, nil if it can: ErrMemberExists, ErrMemberNotFound, ErrMemberRemoved,
// ErrPeerURLExists, ErrNotLearner, ErrTooManyLearners, ErrLastVoter,
// ErrForcedAway, or ErrMalformed for any other request. The answer holds until
// the next entry is applied.
func (s *Store) CheckMembership(index uint64, req proto.Message) error {
	m := s.members.Load()
	if index <= s.forced.Load() {
		return ErrForcedAway
	}
	switch r := req.(type) {
	case *coordpb.MemberAddRequest:
		return m.checkAdd(r)
	case *pb.MemberRemoveRequest:
		return m.checkRemove(r.ID)
	case *pb.MemberPromoteRequest:
		one, err := m.existing(r.ID)
		if err == nil && !one.IsLearner {
			err = ErrNotLearner
		}
		return err
	default:
		return fmt.Errorf("%w: a %T does not change the configuration", ErrMalformed, req)
	}
}

func (m *membership) checkAdd(r *coordpb.MemberAddRequest) error {
	one := r.GetMember()
	if one.GetId() == 0 {
		return fmt.Errorf("%w: member 0", ErrMalformed)
	}
	if _, removed := m.removed[one.GetId()]; removed {
		return ErrMemberRemoved
	}
	if m.find(one.GetId()) != nil {
		return ErrMemberExists
	}
	if err := m.checkURLs(one.GetId(), one.GetPeerUrls()); err != nil {
		return err
	}
	learners := 1
	for _, other := range m.members {
		if other.IsLearner {
			learners++
		}
	}
	if one.GetIsLearner() && r.MaxLearners > 0 && learners > int(r.MaxLearners) {
		return ErrTooManyLearners
	}
	return nil
}

// checkURLs refuses peer URLs for a member that another one has.
func (m *membership) checkURLs(id uint64, urls []string) error {
	for _, other := range m.members {
		if other.Id != id && slices.ContainsFunc(urls, func(u string) bool { return slices.Contains(other.PeerUrls, u) }) {
			return ErrPeerURLExists
		}
	}
	return nil
}

// checkRemove never lets the last voter go: without one no change could be
// applied any more, not even that.
func (m *membership) checkRemove(id uint64) error {
	one, err := m.existing(id)
	if err != nil || one.IsLearner {
		return err
	}
	for _, other := range m.members {
		if other.Id != id && !other.IsLearner {
			return nil
		}
	}
	return ErrLastVoter
}

func (m *membership) existing(id uint64) (*coordpb.Member, error) {
	if _, removed := m.removed[id]; removed {
		return nil, ErrMemberRemoved
	}
	if one := m.find(id); one != nil {
		return one, nil
	}
	return nil, ErrMemberNotFound
}

// ApplyMembership applies a change that CheckMembership has let through,
// together with the raft configuration that it leads to, and returns its
// response, which lists all members. It panics as Apply does.
func (s *Store) ApplyMembership(index, term uint64, req proto.Message, cs *raftpb.ConfState) proto.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(index, term)
	s.setConfState(cs)
	response := s.applyMembership(req)
	s.publish()
	return response
}

func (s *Store) applyMembership(req proto.Message) proto.Message {
	switch r := req.(type) {
	case *coordpb.MemberAddRequest:
		s.putMember(proto.CloneOf(r.Member))
		return &pb.MemberAddResponse{
			Member:  coordpb.EtcdMembers([]*coordpb.Member{r.Member})[0],
			Members: s.etcdMembers(),
		}
	case *pb.MemberRemoveRequest:
		s.removeMember(r.ID)
		return &pb.MemberRemoveResponse{Members: s.etcdMembers()}
	case *pb.MemberPromoteRequest:
		one := proto.CloneOf(s.members.Load().find(r.ID))
		one.IsLearner = false
		s.putMember(one)
		return &pb.MemberPromoteResponse{Members: s.etcdMembers()}
	default:
		panic(fmt.Sprintf("kvcore: apply a %T to the configuration", req))
	}
}

func (s *Store) etcdMembers() []*pb.Member { return coordpb.EtcdMembers(s.members.Load().members) }

// updateMember changes where the other members reach one.
func (s *Store) updateMember(r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	if s.current.applied.index <= s.forced.Load() {
		return nil, ErrForcedAway
	}
	m := s.members.Load()
	one, err := m.existing(r.ID)
	if err != nil {
		return nil, err
	}
	if err := m.checkURLs(r.ID, r.PeerURLs); err != nil {
		return nil, err
	}
	one = proto.CloneOf(one)
	one.PeerUrls = r.PeerURLs
	s.putMember(one)
	return &pb.MemberUpdateResponse{Members: s.etcdMembers()}, nil
}

// publishMember records where clients reach a member.
func (s *Store) publishMember(r *coordpb.MemberPublishRequest) *coordpb.MemberPublishResponse {
	if one := s.members.Load().find(r.Id); one != nil {
		one = proto.CloneOf(one)
		one.Name, one.ClientUrls = r.Name, r.ClientUrls
		s.putMember(one)
	}
	return &coordpb.MemberPublishResponse{}
}

// putMember adds a member or replaces its record.
func (s *Store) putMember(one *coordpb.Member) {
	s.queue(memberChange(one))
	m := s.members.Load().next()
	m.put(one)
	s.setMembership(m)
}

func (s *Store) removeMember(id uint64) {
	s.queue(change{backend.Members, memberKey(id), nil})
	s.queue(change{backend.MembersRemoved, memberKey(id), []byte("removed")})
	m := s.members.Load().next()
	m.remove(id)
	s.setMembership(m)
}

func (s *Store) setMembership(m *membership) {
	if before := s.members.Swap(m); before != nil {
		close(before.changed)
	}
}

func (st *loaded) loadMembers(r backend.Reader) (err error) {
	st.members = newMembership()
	r.Ascend(backend.Members, nil, nil, func(k, v []byte) bool {
		var m memberJSON
		if err = json.Unmarshal(v, &m); err != nil {
			err = fmt.Errorf("member %s: %w", k, err)
			return false
		}
		st.members.put(m.message())
		return true
	})
	if err != nil {
		return err
	}
	r.Ascend(backend.MembersRemoved, nil, nil, func(k, _ []byte) bool {
		var id uint64
		if id, err = strconv.ParseUint(string(k), 16, 64); err != nil {
			err = fmt.Errorf("removed member %q: %w", k, err)
			return false
		}
		st.members.removed[id] = struct{}{}
		return true
	})
	return err
}

// memberJSON is how etcd writes a member.
type memberJSON struct {
	ID         uint64   `json:"id"`
	PeerURLs   []string `json:"peerURLs"`
	IsLearner  bool     `json:"isLearner,omitempty"`
	Name       string   `json:"name,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
}

func (m *memberJSON) message() *coordpb.Member {
	return &coordpb.Member{Id: m.ID, Name: m.Name, PeerUrls: m.PeerURLs, ClientUrls: m.ClientURLs, IsLearner: m.IsLearner}
}

// memberKey is how etcd names a member in a bucket.
func memberKey(id uint64) []byte { return []byte(strconv.FormatUint(id, 16)) }

// memberChange returns the change that stores a member.
func memberChange(m *coordpb.Member) change {
	value, err := json.Marshal(&memberJSON{m.Id, m.PeerUrls, m.IsLearner, m.Name, m.ClientUrls})
	if err != nil {
		panic(fmt.Sprintf("kvcore: encode member %x: %v", m.Id, err))
	}
	return change{backend.Members, memberKey(m.Id), value}
}
