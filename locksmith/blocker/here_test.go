package blocker

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestHere(t *testing.T) {
	self := machine{
		hostname:  "Node1.example.com",
		addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")},
		resolve: func(_ context.Context, _, host string) ([]netip.Addr, error) {
			switch host {
			case "alias":
				return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:10.0.0.1")}, nil
			case "other":
				return []netip.Addr{netip.MustParseAddr("10.0.0.2")}, nil
			case "localhost":
				return []netip.Addr{netip.MustParseAddr("::1")}, nil
			}
			return nil, errors.New("no answer")
		},
	}
	urls := func(peer string, client ...string) *pb.Member {
		return &pb.Member{PeerURLs: []string{peer}, ClientURLs: client}
	}
	other := urls("http://10.0.0.2:2380", "http://10.0.0.2:2379")
	for name, c := range map[string]struct {
		members []*pb.Member // get the ids 1, 2, …
		want    []uint64
		fails   bool
	}{
		"by the peer's address":         {members: []*pb.Member{other, urls("http://10.0.0.1:2380")}, want: []uint64{2}},
		"by the client's address":       {members: []*pb.Member{urls("http://10.0.0.9:2380", "http://10.0.0.1:2379"), other}, want: []uint64{1}},
		"by a link's address":           {members: []*pb.Member{urls("http://[fe80::1%25eth0]:2380")}, want: []uint64{1}},
		"by name":                       {members: []*pb.Member{urls("https://node1.example.com.:2380")}, want: []uint64{1}},
		"by a short name":               {members: []*pb.Member{urls("https://node1:2380"), urls("https://10.0.0.7:2380")}, want: []uint64{1}},
		"not by a part of a name":       {members: []*pb.Member{urls("https://10.0.0.3:2380"), urls("http://10.0.0.11:2380")}},
		"by a name that resolves to it": {members: []*pb.Member{urls("http://other:2380"), urls("http://alias:2380")}, want: []uint64{2}},
		"no member":                     {members: []*pb.Member{other, urls("http://other:2380")}},
		"localhost means little":        {members: []*pb.Member{urls("http://10.0.0.2:2380", "http://localhost:2379", "http://127.0.0.1:2379")}},
		"localhost alone":               {members: []*pb.Member{urls("http://localhost:2380", "http://127.0.0.1:2379")}, want: []uint64{1}},
		"several members":               {members: []*pb.Member{urls("http://10.0.0.1:2380"), urls("http://10.0.0.1:2480"), other}, want: []uint64{1, 2}},
		"cannot tell":                   {members: []*pb.Member{other, urls("http://unknown:2380")}, fails: true},
		"need not tell":                 {members: []*pb.Member{urls("http://unknown:2380"), urls("http://10.0.0.1:2380")}, want: []uint64{2}},
		"nonsense":                      {members: []*pb.Member{urls("::"), urls("http://"), {}}},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[uint64]bool{}
			for i, m := range c.members {
				m.ID = uint64(i) + 1
			}
			for _, id := range c.want {
				want[id] = true
			}
			got, err := self.members(t.Context(), c.members)
			if c.fails {
				if err == nil || !strings.Contains(err.Error(), "resolve unknown: no answer") || !strings.Contains(err.Error(), "store_member") {
					t.Errorf("%v, %v", got, err)
				}
			} else if err != nil || !maps.Equal(got, want) {
				t.Errorf("%v, %v, want %v", got, err, want)
			}
		})
	}
}

func TestSameName(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"a", "A.", true}, {"a", "a.example.com", true}, {"a.example.com", "a", true},
		{"a.example.com", "a.example.org", false}, {"a", "ab", false}, {"a", "b.a", false},
	} {
		if got := sameName(c.a, c.b); got != c.same {
			t.Errorf("%s and %s: %t", c.a, c.b, got)
		}
	}
}
