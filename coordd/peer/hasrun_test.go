package peer_test

import (
	"testing"

	"github.com/coordd/coordd/coordd/peer"
	"github.com/coordd/coordd/proto/coordpb"
)

func TestHasRunAsksTheOthers(t *testing.T) {
	r := newReceiver(t)
	members := func(self uint64) []*coordpb.Member {
		return []*coordpb.Member{
			{Id: self, Name: "self", PeerUrls: []string{"http://127.0.0.1:1"}},
			{Id: bob, Name: "bob", PeerUrls: []string{"http://" + r.address}},
			{Id: 99, Name: "away", PeerUrls: []string{"http://127.0.0.1:1"}}, // where nothing listens
		}
	}
	witness, err := peer.HasRun(t.Context(), nil, cluster, alice, members(alice))
	if err != nil || witness.GetName() != "bob" {
		t.Errorf("alice has run, and is told so by %v, %v", witness, err)
	}
	const carol = 98
	if witness, err := peer.HasRun(t.Context(), nil, cluster, carol, members(carol)); err != nil || witness != nil {
		t.Errorf("carol has never run, and is told so by %v, %v", witness, err)
	}
	if witness, err := peer.HasRun(t.Context(), nil, cluster+1, alice, members(alice)); err != nil || witness != nil {
		t.Errorf("a member of another cluster says that alice has run: %v, %v", witness, err)
	}
}
