// Package member says who belongs to a cluster when it begins: it reads the
// members from the flags, derives the ids that every member must derive alike,
// and makes the first records of the store. It holds no state: from then on the
// replicated store knows the members.
//
// The ids are those that etcd derives from the same flags, so that what an
// operator has noted down stays true.
package member

import (
	"cmp"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/coordd/coordd/proto/coordpb"
)

var (
	// ErrInitialCluster says that the value of --initial-cluster cannot be used.
	ErrInitialCluster = errors.New("member: invalid --initial-cluster")
	// ErrMismatch says that the flags of this member and --initial-cluster disagree.
	ErrMismatch = errors.New("member: this member and --initial-cluster disagree")
)

// Config is what the flags say about a new cluster.
type Config struct {
	Name                     string   // --name: this member
	InitialAdvertisePeerURLs []string // --initial-advertise-peer-urls: where the others reach it
	InitialCluster           string   // --initial-cluster: name=url,name=url,…; a name with several URLs comes several times
	Token                    string   // --initial-cluster-token: keeps clusters with equal URLs apart
}

// Cluster is the membership that a cluster begins with. It is immutable.
type Cluster struct {
	ID      uint64            // never 0
	Self    uint64            // this member's id
	Members []*coordpb.Member // by rising id
}

// Bootstrap checks c and derives the cluster. The same InitialCluster and Token
// give the same ids on every member, in whatever order the members are written.
// [ErrInitialCluster], [ErrMismatch], [ErrURL].
func Bootstrap(c Config) (*Cluster, error) {
	members, err := ParseInitialCluster(c.InitialCluster, c.Token)
	if err != nil {
		return nil, err
	}
	self, err := findSelf(c, members)
	if err != nil {
		return nil, err
	}
	ids := make([]uint64, len(members))
	for i, m := range members {
		ids[i] = m.Id
	}
	return &Cluster{ID: ClusterID(ids), Self: self, Members: members}, nil
}

// ConfState is the raft configuration in which every member votes.
func (c *Cluster) ConfState() *raftpb.ConfState {
	cs := &raftpb.ConfState{AutoLeave: new(false)}
	for _, m := range c.Members {
		cs.Voters = append(cs.Voters, m.Id)
	}
	return cs
}

// ParseInitialCluster reads the members from name=url,name=url,… and derives
// their ids with the token. They come by rising id, their URLs sorted.
// [ErrInitialCluster], [ErrURL].
func ParseInitialCluster(list, token string) ([]*coordpb.Member, error) {
	if strings.TrimSpace(list) == "" {
		return nil, fmt.Errorf("%w: it is empty; list every member as name=http://host:port, with commas between", ErrInitialCluster)
	}
	urls := map[string][]string{}
	for pair := range strings.SplitSeq(list, ",") {
		name, url, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || name == "" || url == "" {
			return nil, fmt.Errorf("%w: %q is not of the form name=http://host:port", ErrInitialCluster, pair)
		}
		urls[name] = append(urls[name], url)
	}
	members := make([]*coordpb.Member, 0, len(urls))
	owner := map[string]string{}
	for name, list := range urls {
		list, err := Normalize(list)
		if err != nil {
			return nil, fmt.Errorf("%w: member %s: %w", ErrInitialCluster, name, err)
		}
		for _, url := range list {
			if other, taken := owner[url]; taken {
				return nil, fmt.Errorf("%w: members %s and %s both have %s; give each its own URLs",
					ErrInitialCluster, min(name, other), max(name, other), url)
			}
			owner[url] = name
		}
		members = append(members, &coordpb.Member{Id: ID(list, token), Name: name, PeerUrls: list})
	}
	slices.SortFunc(members, func(a, b *coordpb.Member) int { return cmp.Compare(a.Id, b.Id) })
	for i := range members[1:] {
		if a, b := members[i], members[i+1]; a.Id == b.Id {
			return nil, fmt.Errorf("%w: members %s and %s derive the same id %x; change --initial-cluster-token on every member",
				ErrInitialCluster, a.Name, b.Name, a.Id)
		}
	}
	return members, nil
}

// findSelf returns the id of the member that c.Name names, whose URLs must be those it advertises.
func findSelf(c Config, members []*coordpb.Member) (uint64, error) {
	i := slices.IndexFunc(members, func(m *coordpb.Member) bool { return m.Name == c.Name })
	if i < 0 {
		names := make([]string, len(members))
		for i, m := range members {
			names[i] = m.Name
		}
		slices.Sort(names)
		return 0, fmt.Errorf("%w: no member %q among %s; set --name to one of them, or add this member to --initial-cluster",
			ErrMismatch, c.Name, strings.Join(names, ", "))
	}
	advertised, err := Normalize(c.InitialAdvertisePeerURLs)
	if err != nil {
		return 0, fmt.Errorf("--initial-advertise-peer-urls: %w", err)
	}
	if self := members[i]; !slices.Equal(advertised, self.PeerUrls) {
		return 0, fmt.Errorf("%w: --initial-cluster has %s at %s, --initial-advertise-peer-urls says %s; write the same URLs in both",
			ErrMismatch, c.Name, strings.Join(self.PeerUrls, ","), strings.Join(advertised, ","))
	}
	return members[i].Id, nil
}

// ID derives a member's id from its peer URLs, in any order, and the cluster's
// token. It is never 0 nor one of the ids that raft keeps for its local threads.
func ID(peerURLs []string, token string) uint64 {
	sum := sha1.Sum([]byte(strings.Join(slices.Sorted(slices.Values(peerURLs)), "") + token))
	return usable(binary.BigEndian.Uint64(sum[:8]))
}

// ClusterID derives a cluster's id, never 0, from the ids of its first members, in any order.
func ClusterID(memberIDs []uint64) uint64 {
	var b []byte
	for _, id := range slices.Sorted(slices.Values(memberIDs)) {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	sum := sha1.Sum(b)
	return usable(binary.BigEndian.Uint64(sum[:8]))
}

// usable replaces the three values in 2⁶⁴ that have a meaning of their own in raft.
func usable(id uint64) uint64 {
	if id == raft.None || raft.IsLocalMsgTarget(id) {
		return 1
	}
	return id
}
