package peer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/coordd/peer"
	"github.com/coordd/coordd/proto/coordpb"
)

// client is a caller that need not behave as a Transport does.
func (r *receiver) client() coordpb.PeerClient {
	r.t.Helper()
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return coordpb.NewPeerClient(conn)
}

func identify(t *testing.T, clusterID, from, to uint64) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(),
		"coordd-cluster-id", fmt.Sprintf("%x", clusterID), "coordd-from", fmt.Sprintf("%x", from), "coordd-to", fmt.Sprintf("%x", to))
}

func TestServerRefusesStrangers(t *testing.T) {
	r := newReceiver(t)
	client := r.client()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		says string
	}{
		{"another cluster", identify(t, 0xc2, alice, bob), "--initial-cluster-token"},
		{"another member", identify(t, cluster, alice, 0xb1), "check the peer URLs"},
		{"the member itself", identify(t, cluster, bob, bob), "no other member"},
		{"no member", identify(t, cluster, 0, bob), "no other member"},
		{"a local thread", identify(t, cluster, raft.LocalAppendThread, bob), "no other member"},
		{"nobody", t.Context(), "0 values"},
		{"twice", metadata.AppendToOutgoingContext(identify(t, cluster, alice, bob), "coordd-to", "b0"), "2 values"},
		{"garbage", metadata.AppendToOutgoingContext(t.Context(), "coordd-cluster-id", "g", "coordd-from", "g", "coordd-to", "g"), "not a hexadecimal id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			messages, err := client.Messages(tc.ctx)
			if err != nil {
				t.Fatal(err)
			}
			_, messagesErr := messages.CloseAndRecv()
			install, err := client.InstallSnapshot(tc.ctx)
			if err != nil {
				t.Fatal(err)
			}
			_, installErr := install.CloseAndRecv()
			_, renewErr := client.LeaseRenew(tc.ctx, &coordpb.LeaseRenewRequest{Id: 7})
			_, timeToLiveErr := client.LeaseTimeToLive(tc.ctx, &coordpb.LeaseTimeToLiveRequest{Id: 7})
			_, hashErr := client.HashKV(tc.ctx, &coordpb.HashKVRequest{Revision: 7})
			for _, err := range []error{messagesErr, installErr, renewErr, timeToLiveErr, hashErr} {
				if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("got %v; want FailedPrecondition that says %q", err, tc.says)
				}
			}
		})
	}
}

// A Transport that a member refuses never counts as connected, and tries on.
func TestTransportOfAnotherClusterIsNotActive(t *testing.T) {
	r := newReceiver(t)
	tr := newTransport(t, func(c *peer.Config) { c.ClusterID = 0xc2 })
	tr.add(r)
	for range 3 {
		await(t, tr.unreachable)
		if !tr.ActiveSince(bob).IsZero() {
			t.Fatal("it is active")
		}
	}
}

func TestMessagesRefuses(t *testing.T) {
	with := func(m *raftpb.Message, change func(*raftpb.Message)) []byte {
		change(m)
		return marshal(m)
	}
	confChange := raftpb.EntryConfChange
	proposal := func(entries ...*raftpb.Entry) []byte {
		return with(message(raftpb.MsgProp, 0), func(m *raftpb.Message) { m.Term, m.Entries = nil, entries })
	}
	r := newReceiver(t)
	client := r.client()
	for _, tc := range []struct {
		name string
		data []byte
	}{
		{"garbage", []byte("\xff\xff\xff")},
		{"nothing", nil},
		{"from another member", with(message(raftpb.MsgHeartbeat, 1), func(m *raftpb.Message) { m.From = new(uint64(0xa2)) })},
		{"unknown type", marshal(message(99, 1))},
		{"negative type", marshal(message(-5, 1))},
		{"for another member", with(message(raftpb.MsgHeartbeat, 1), func(m *raftpb.Message) { m.To = new(uint64(0xa2)) })},
		{"for a local thread", with(message(raftpb.MsgHeartbeat, 1), func(m *raftpb.Message) { m.To = new(raft.LocalApplyThread) })},
		{"without a term", with(message(raftpb.MsgHeartbeat, 1), func(m *raftpb.Message) { m.Term = nil })},
		{"local message", marshal(message(raftpb.MsgHup, 1))},
		{"storage message", marshal(message(raftpb.MsgStorageAppendResp, 1))},
		{"responses", with(message(raftpb.MsgHeartbeat, 1), func(m *raftpb.Message) { m.Responses = []*raftpb.Message{{}} })},
		{"store as a message", marshal(snapshotMessage(3))},
		{"gap in the entries", with(appendOf(1, 1), func(m *raftpb.Message) { m.Entries[0].Index = new(uint64(3)) })},
		{"term falls", with(appendOf(1, 1), func(m *raftpb.Message) { m.Entries[0].Term = new(uint64(4)) })},
		{"term of the future", with(appendOf(1, 1), func(m *raftpb.Message) { m.Entries[0].Term = new(uint64(6)) })},
		{"empty proposal", proposal()},
		{"proposal with a term", with(message(raftpb.MsgProp, 0), func(m *raftpb.Message) { m.Entries = []*raftpb.Entry{{}} })},
		{"garbage configuration", proposal(&raftpb.Entry{Type: &confChange, Data: []byte{0xff}})},
		{"read index without a context", with(message(raftpb.MsgReadIndex, 0), func(m *raftpb.Message) { m.Term = nil })},
		{"entries without end", append(marshal(message(raftpb.MsgApp, 1)), []byte(strings.Repeat("\x3a\x00", 1<<20))...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stream, err := client.Messages(identify(t, cluster, alice, bob))
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(&coordpb.MessageBatch{Messages: [][]byte{tc.data}}); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.CloseAndRecv(); status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v, want InvalidArgument", err)
			}
			if len(r.stepped) > 0 {
				t.Errorf("raft was given %v", r.next())
			}
		})
	}
}

// What a follower passes on for a third member keeps that member's id.
func TestForwardedMessagesAreTaken(t *testing.T) {
	r, tr := newReceiver(t), newTransport(t, nil)
	tr.add(r)
	tr.connected()
	for _, kind := range []raftpb.MessageType{raftpb.MsgProp, raftpb.MsgReadIndex} {
		m := message(kind, 0)
		m.From, m.Term, m.Entries = new(uint64(0xa2)), nil, []*raftpb.Entry{{Data: []byte("x")}}
		tr.Send([]*raftpb.Message{m})
		if got := r.next(); got.GetType() != kind || got.GetFrom() != 0xa2 {
			t.Errorf("got %v", got)
		}
	}
	m := message(raftpb.MsgTransferLeader, 0)
	m.From = new(uint64(0xa2))
	tr.Send([]*raftpb.Message{m})
	if got := r.next(); got.GetTerm() != 0 {
		t.Errorf("got %v; a follower could not pass it on", got)
	}
}

func TestOversizeBatchEndsTheStream(t *testing.T) {
	r := newReceiver(t)
	stream, err := r.client().Messages(identify(t, cluster, alice, bob))
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(&coordpb.MessageBatch{Messages: [][]byte{make([]byte, 65<<20)}})
	if _, err := stream.CloseAndRecv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v, want ResourceExhausted", err)
	}
}
