package coordd

import (
	"context"
	"fmt"
	"slices"

	"github.com/coordd/coordd/coordd/member"
	"github.com/coordd/coordd/coordd/peer"
	"github.com/coordd/coordd/proto/coordpb"
	"google.golang.org/protobuf/proto"
)

// force makes this member a cluster of its own with the data it has: the way
// out where most members are lost for good.
//
// All entries of its log stay and are applied. Some may never have been
// committed; but a commit index is not always written, so to cut the log at the
// last one known could lose acknowledged writes. Changes of members among them
// are void.
func (s *storage) force(cfg *Config, peerTLS peer.ClientTLS) error {
	urls, err := member.Normalize(cfg.InitialAdvertisePeerURLs)
	if err != nil {
		return fmt.Errorf("%w: --initial-advertise-peer-urls: %w", ErrConfig, err)
	}
	others, self := s.store.Members(), &coordpb.Member{Id: s.memberID}
	if at := slices.IndexFunc(others, func(m *coordpb.Member) bool { return m.Id == s.memberID }); at >= 0 {
		self = proto.CloneOf(others[at])
		others = slices.Delete(others, at, at+1)
	}
	if err := s.checkAllGone(peerTLS, others); err != nil {
		return err
	}
	self.Name, self.PeerUrls = cfg.Name, urls
	last, _ := s.store.Applied()
	if ents := s.recovered.Entries; len(ents) > 0 {
		last = max(last, ents[len(ents)-1].GetIndex())
	}
	if err := s.store.Force(self, last); err != nil {
		return fmt.Errorf("coordd: force a new cluster: %w", err)
	}
	return nil
}

// checkAllGone refuses to leave members behind that run: there would be two
// clusters, each sure to be the one.
func (s *storage) checkAllGone(peerTLS peer.ClientTLS, others []*coordpb.Member) error {
	if len(others) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), hasRunTimeout)
	defer cancel()
	answer, err := peer.Members(ctx, peerTLS, others, func(r *coordpb.MembersResponse) error {
		if r.GetClusterId() != s.clusterID {
			return fmt.Errorf("another cluster, %x", r.GetClusterId())
		}
		return nil
	})
	if err != nil {
		return nil // nobody of this cluster is there
	}
	return fmt.Errorf("coordd: --force-new-cluster leaves all other members behind, and at least one of %s runs: stop them all first; or leave the flag out, if this cluster was forced before",
		describe(answer.GetMembers()))
}
