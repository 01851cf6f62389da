package peer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/coordd/peer"
	"github.com/coordd/coordd/proto/coordpb"
)

func TestMembersTakesTheFirstAnswerThatFits(t *testing.T) {
	r := newReceiver(t)
	asked := []*coordpb.Member{
		{Name: "away", PeerUrls: []string{"http://127.0.0.1:1"}}, // where nothing listens
		{Name: "bob", PeerUrls: []string{"http://" + r.address}},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := peer.Members(ctx, nil, asked, func(*coordpb.MembersResponse) error { return nil })
	if err != nil || got.ClusterId != cluster || len(got.Members) != 1 || got.Members[0].Id != bob {
		t.Errorf("the members are %v, %v", got, err)
	}
	unfit := errors.New("unfit")
	if _, err := peer.Members(ctx, nil, asked, func(*coordpb.MembersResponse) error { return unfit }); !errors.Is(err, unfit) {
		t.Errorf("an answer that does not fit: %v", err)
	}
	if _, err := peer.Members(ctx, nil, asked[:1], nil); !errors.Is(err, peer.ErrNoAnswer) {
		t.Errorf("nobody answers: %v", err)
	}
}

func TestRemovedMemberIsTold(t *testing.T) {
	r := newReceiver(t)
	tr := newTransport(t, func(c *peer.Config) { c.MemberID = eve })
	tr.add(r)
	await(t, tr.removed)
	if _, err := peer.HasRun(t.Context(), nil, cluster, eve, []*coordpb.Member{{Id: bob, PeerUrls: []string{"http://" + r.address}}}); !errors.Is(err, peer.ErrRemoved) {
		t.Errorf("a removed member that asks whether it has run: %v, want ErrRemoved", err)
	}
}

// One that is connected learns it with what it says next.
func TestMemberRemovedWhileConnectedIsTold(t *testing.T) {
	r := newReceiver(t)
	tr := newTransport(t, nil)
	tr.add(r)
	tr.connected()
	r.aliceRemoved.Store(true)
	tr.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 0)})
	await(t, tr.removed)
	select {
	case m := <-r.stepped:
		t.Errorf("%v of a removed member reached raft", m)
	default:
	}
}

func TestPromotionIsPassedOn(t *testing.T) {
	r := newReceiver(t)
	tr := newTransport(t, nil)
	tr.add(r)
	tr.connected()
	if members, err := tr.MemberPromote(t.Context(), bob, 7); err != nil || len(members) != 1 {
		t.Errorf("members %v, %v", members, err)
	}
	if _, err := tr.MemberPromote(t.Context(), bob, 8); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a refusal: %v, want it as it was said", err)
	}
}
