package peer_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/coordd/peer"
	"github.com/coordd/coordd/kvcore"
)

func TestMessagesKeepTheirOrder(t *testing.T) {
	r, tr := newReceiver(t), newTransport(t, nil)
	tr.add(r)
	tr.connected()
	const n = 2000
	for i := uint64(0); i < n; i += 4 {
		tr.Send([]*raftpb.Message{appendOf(i, 100), appendOf(i+1, 100), message(raftpb.MsgApp, i+2), appendOf(i+3, 100)})
	}
	for i := range uint64(n) {
		if m := r.next(); m.GetIndex() != i {
			t.Fatalf("message %d has the index %d", i, m.GetIndex())
		}
	}
}

func TestMessagesArriveWhole(t *testing.T) {
	r, tr := newReceiver(t), newTransport(t, nil)
	tr.add(r)
	tr.connected()
	sent := appendOf(8, 3<<20)
	for i := range sent.Entries[0].Data {
		sent.Entries[0].Data[i] = byte(i)
	}
	tr.Send([]*raftpb.Message{sent})
	if got := r.next(); !proto.Equal(got, sent) {
		t.Error("another message came out than went in")
	}
}

// The first votes of a cluster must not be lost to the order in which its members start.
func TestVotesWaitForTheFirstConnection(t *testing.T) {
	r, tr := newReceiver(t), newTransport(t, nil)
	r.stop()
	tr.add(r)
	tr.Send([]*raftpb.Message{message(raftpb.MsgVote, 1)})
	r.start()
	if m := r.next(); m.GetType() != raftpb.MsgVote {
		t.Errorf("got %s", m.GetType())
	}
}

func TestReconnectsToARestartedMember(t *testing.T) {
	r, tr := newReceiver(t), newTransport(t, nil)
	tr.add(r)
	tr.connected()
	tr.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 1)})
	r.next()
	for restart := range uint64(3) {
		r.stop()
		if id := await(t, tr.unreachable); id != bob {
			t.Fatalf("member %x reported", id)
		}
		eventually(t, func() bool { return tr.ActiveSince(bob).IsZero() })
		r.start()
		tr.connected()
		tr.Send([]*raftpb.Message{message(raftpb.MsgAppResp, 10+restart)})
		if m := r.next(); m.GetIndex() != 10+restart {
			t.Fatalf("got index %d after restart %d", m.GetIndex(), restart)
		}
	}
}

// A member that was not added, or has moved, is reached where it says that it is.
func TestMemberThatCallsIsReached(t *testing.T) {
	r, tr := newReceiver(t), newTransport(t, nil)
	here, gone := []string{"http://" + r.address}, []string{"http://127.0.0.1:1"}
	if err := tr.Called(bob, here); err != nil {
		t.Fatal(err)
	}
	tr.connected()
	if got := await(t, r.called); got.from != alice || !slices.Equal(got.urls, []string{"http://alice:1", "http://älice:2"}) {
		t.Errorf("alice has called as %x from %q", got.from, got.urls)
	}
	for _, recorded := range [][]string{gone, here} {
		if err := tr.Add(bob, recorded); err != nil {
			t.Fatal(err)
		}
		await(t, r.called)
		tr.connected()
	}
	since := tr.ActiveSince(bob)
	if err := tr.Called(bob, here); err != nil || tr.ActiveSince(bob) != since {
		t.Errorf("to be told what is known is no reason to connect anew (%v)", err)
	}
	if got := tr.Peers(); !slices.Equal(got, []uint64{bob}) {
		t.Errorf("peers %x", got)
	}
	tr.Remove(bob)
	if got := tr.Peers(); len(got) != 0 {
		t.Errorf("peers %x after bob was removed", got)
	}
	for id := range uint64(1000) {
		err := tr.Called(id+1, gone)
		if err != nil && !errors.Is(err, peer.ErrUnknownPeer) {
			t.Fatal(err)
		}
	}
	if got := len(tr.Peers()); got > 100 {
		t.Errorf("%d who called are connected to", got)
	}
}

func TestEntriesForAMemberThatIsAwayAreReported(t *testing.T) {
	r, tr := newReceiver(t), newTransport(t, nil)
	r.stop()
	tr.add(r)
	tr.Send([]*raftpb.Message{appendOf(1, 10)})
	if id := await(t, tr.unreachable); id != bob {
		t.Errorf("member %x reported", id)
	}
}

// A member that takes nothing in fills its queue: entries are dropped and
// reported, Send goes on, and a heartbeat overtakes the entries that wait.
func TestFullQueueDropsEntriesAndKeepsHeartbeats(t *testing.T) {
	r := newReceiver(t)
	r.stop()
	release := make(chan struct{})
	r.step = func(ctx context.Context, m *raftpb.Message) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		r.stepped <- m
		return nil
	}
	r.start()
	tr := newTransport(t, nil)
	tr.add(r)
	tr.connected()
	sent := 0
	for len(tr.unreachable) == 0 {
		tr.Send([]*raftpb.Message{appendOf(uint64(sent), 64<<10)})
		if sent++; sent > 1<<16 {
			t.Fatal("the queue takes everything")
		}
	}
	tr.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 0)})
	close(release)
	before, after, heartbeat := 0, 0, false
	for next := uint64(0); !heartbeat; {
		m := r.next()
		if heartbeat = m.GetType() == raftpb.MsgHeartbeat; heartbeat {
			break
		}
		if m.GetType() != raftpb.MsgApp || m.GetIndex() != next {
			t.Fatalf("got %s with index %d, want MsgApp with %d", m.GetType(), m.GetIndex(), next)
		}
		next++
		before++
	}
	for {
		if m := r.next(); m.GetType() == raftpb.MsgApp {
			after++
		}
		if after > before {
			return // the heartbeat came before the greater part of what was queued ahead of it
		}
	}
}

func TestOnlyAddedMembersAreSentTo(t *testing.T) {
	r, tr := newReceiver(t), newTransport(t, nil)
	tr.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 1), snapshotMessage(1)})
	if got := await(t, tr.snapshots); got != (snapshotReport{bob, false}) {
		t.Errorf("reported %+v", got)
	}
	tr.add(r)
	tr.connected()
	tr.Remove(bob)
	if !tr.ActiveSince(bob).IsZero() {
		t.Error("a removed member is active")
	}
	if _, err := tr.LeaseRenew(t.Context(), bob, 7); !errors.Is(err, peer.ErrUnknownPeer) {
		t.Errorf("asking a removed member gives %v", err)
	}
	tr.add(r)
	tr.connected()
	tr.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 2)})
	if m := r.next(); m.GetIndex() != 2 {
		t.Errorf("got index %d", m.GetIndex())
	}
}

func TestAnyURLOfAMemberServes(t *testing.T) {
	r, tr := newReceiver(t), newTransport(t, nil)
	if err := tr.Add(bob, []string{"http://127.0.0.1:1", "http://" + r.address}); err != nil {
		t.Fatal(err)
	}
	tr.connected()
}

func TestAddRefusesURLs(t *testing.T) {
	tr := newTransport(t, nil)
	for _, urls := range [][]string{nil, {"ftp://a:1"}, {"a:1"}, {"\x00"}, {"http://"}} {
		if err := tr.Add(bob, urls); err == nil {
			t.Errorf("%q was accepted", urls)
		}
	}
	tr.Stop()
	if err := tr.Add(bob, []string{"http://127.0.0.1:1"}); !errors.Is(err, peer.ErrStopped) {
		t.Errorf("adding after Stop gives %v", err)
	}
	tr.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 1)})
}

func TestLeaseQuestions(t *testing.T) {
	r, tr := newReceiver(t), newTransport(t, nil)
	tr.add(r)
	tr.connected()
	if ttl, err := tr.LeaseRenew(t.Context(), bob, 7); ttl != 30 || err != nil {
		t.Errorf("renewing gives %d, %v", ttl, err)
	}
	if _, err := tr.LeaseRenew(t.Context(), bob, 8); status.Code(err) != codes.Unavailable {
		t.Errorf("a member that does not lead gives %v", err)
	}
	if remaining, granted, err := tr.LeaseTimeToLive(t.Context(), bob, 12); remaining != 12 || granted != 30 || err != nil {
		t.Errorf("time to live is %d of %d, %v", remaining, granted, err)
	}
}

func TestHashQuestion(t *testing.T) {
	r, tr := newReceiver(t), newTransport(t, nil)
	tr.add(r)
	tr.connected()
	want := kvcore.Hash{Hash: 9, HashRevision: 9, CompactRevision: 3}
	if got, err := tr.HashKV(t.Context(), bob, 9); got != want || err != nil {
		t.Errorf("asking for the hash gives %v, %v", got, err)
	}
	if _, err := tr.HashKV(t.Context(), 0xdead, 9); !errors.Is(err, peer.ErrUnknownPeer) {
		t.Errorf("asking nobody gives %v", err)
	}
}

// Raft may be sending, and waiting to take a report, while a member's URLs change.
func TestAddReplacesURLsWhileReportsWait(t *testing.T) {
	r := newReceiver(t)
	reporting, release := make(chan struct{}), make(chan struct{})
	tr := newTransport(t, func(c *peer.Config) {
		c.ReportSnapshot = func(uint64, bool) {
			close(reporting)
			<-release
		}
	})
	if err := tr.Add(bob, []string{"http://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	tr.Send([]*raftpb.Message{snapshotMessage(1)})
	await(t, reporting)
	added := make(chan error, 1)
	go func() { added <- tr.Add(bob, []string{"http://" + r.address}) }()
	tr.connected() // the new connection is up while the old one still reports
	tr.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 3)})
	r.next()
	close(release)
	if err := await(t, added); err != nil {
		t.Error(err)
	}
}
