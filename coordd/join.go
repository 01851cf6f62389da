package coordd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/coordd/member"
	"github.com/coordd/coordd/coordd/peer"
	"github.com/coordd/coordd/proto/coordpb"
)

// joinTimeout bounds how long a member that joins waits for one of the others to
// say who is in the cluster.
const joinTimeout = 10 * time.Second

// askToJoin finds the cluster that --initial-cluster names and this member's
// place in it: 'member add' has announced it there by its peer URLs.
func askToJoin(cfg *Config, peerTLS peer.ClientTLS) (*member.Cluster, error) {
	named, err := member.ParseInitialCluster(cfg.initialCluster(), cfg.InitialClusterToken)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(named, func(m *coordpb.Member) bool { return m.Name == cfg.Name })
	if at < 0 {
		return nil, fmt.Errorf("%w: no member %q in --initial-cluster; list all members there, this one too", ErrConfig, cfg.Name)
	}
	self := named[at]
	others := slices.DeleteFunc(slices.Clone(named), func(m *coordpb.Member) bool { return m == self })
	if len(others) == 0 {
		return nil, fmt.Errorf("%w: --initial-cluster names no other member to join; list all members there", ErrConfig)
	}
	ctx, cancel := context.WithTimeout(context.Background(), joinTimeout)
	defer cancel()
	answer, err := peer.Members(ctx, peerTLS, others, func(r *coordpb.MembersResponse) error {
		return checkJoin(self, named, r.GetMembers())
	})
	if errors.Is(err, peer.ErrNoAnswer) {
		return nil, fmt.Errorf("coordd: cannot join: none of the other members in --initial-cluster can be asked: %w", err)
	}
	if err != nil {
		return nil, err
	}
	record := answer.Members[indexByURLs(answer.Members, self.PeerUrls)]
	return &member.Cluster{ID: answer.ClusterId, Self: record.Id, Members: answer.Members}, nil
}

// checkJoin compares --initial-cluster with the members there are.
func checkJoin(self *coordpb.Member, named, existing []*coordpb.Member) error {
	at := indexByURLs(existing, self.PeerUrls)
	if at < 0 {
		return fmt.Errorf("coordd: cannot join: no member of the cluster is at %s, there are %s: add this one first with 'member add %s --peer-urls=%s'",
			strings.Join(self.PeerUrls, ","), describe(existing), self.Name, strings.Join(self.PeerUrls, ","))
	}
	if record := existing[at]; len(record.ClientUrls) > 0 {
		return fmt.Errorf("coordd: member %x has run in this cluster before, but its data are not in this data directory: bring them back, or remove it with 'member remove %x' and add it anew; a member without its data must not vote",
			record.Id, record.Id)
	}
	if len(named) != len(existing) {
		return fmt.Errorf("coordd: cannot join: member count is unequal: --initial-cluster names %d, %s; the cluster has %d, %s: write those of the cluster",
			len(named), describe(named), len(existing), describe(existing))
	}
	for _, m := range existing {
		if indexByURLs(named, m.PeerUrls) < 0 {
			return fmt.Errorf("coordd: cannot join: unmatched member %x at %s: --initial-cluster names %s: write the members of the cluster with the peer URLs they have there",
				m.Id, strings.Join(m.PeerUrls, ","), describe(named))
		}
	}
	return nil
}

// indexByURLs finds the member with these peer URLs, in any order; -1 if there is none.
func indexByURLs(members []*coordpb.Member, urls []string) int {
	urls = slices.Sorted(slices.Values(urls))
	return slices.IndexFunc(members, func(m *coordpb.Member) bool {
		return slices.Equal(slices.Sorted(slices.Values(m.PeerUrls)), urls)
	})
}

func describe(members []*coordpb.Member) string {
	all := make([]string, len(members))
	for i, m := range members {
		all[i] = m.Name + "=" + strings.Join(m.PeerUrls, ","+m.Name+"=")
	}
	return strings.Join(all, ",")
}
