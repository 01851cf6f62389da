package kvcore

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
)

// publishMember records where clients reach a member.
func (s *Store) publishMember(r *coordpb.MemberPublishRequest) *coordpb.MemberPublishResponse {
	for _, m := range *s.members.Load() {
		if m.Id == r.Id {
			m = proto.CloneOf(m)
			m.Name, m.ClientUrls = r.Name, r.ClientUrls
			s.putMember(m)
		}
	}
	return &coordpb.MemberPublishResponse{}
}

// putMember adds a member or replaces its record.
func (s *Store) putMember(m *coordpb.Member) {
	s.queue(memberChange(m))
	members := slices.Clone(*s.members.Load())
	members = slices.DeleteFunc(members, func(o *coordpb.Member) bool { return o.Id == m.Id })
	members = append(members, m)
	sortMembers(members)
	s.members.Store(&members)
}

func (st *loaded) loadMembers(r backend.Reader) (err error) {
	r.Ascend(backend.Members, nil, nil, func(k, v []byte) bool {
		var m memberJSON
		if err = json.Unmarshal(v, &m); err != nil {
			err = fmt.Errorf("member %s: %w", k, err)
			return false
		}
		st.members = append(st.members, m.message())
		return true
	})
	sortMembers(st.members)
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

func sortMembers(members []*coordpb.Member) {
	slices.SortFunc(members, func(a, b *coordpb.Member) int { return cmp.Compare(a.Id, b.Id) })
}

// memberChange returns the change that stores a member.
func memberChange(m *coordpb.Member) change {
	value, err := json.Marshal(&memberJSON{m.Id, m.PeerUrls, m.IsLearner, m.Name, m.ClientUrls})
	if err != nil {
		panic(fmt.Sprintf("kvcore: encode member %x: %v", m.Id, err))
	}
	return change{backend.Members, []byte(strconv.FormatUint(m.Id, 16)), value}
}
