package rpc

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/coordd/coordd/kvcore/auth"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A member that is behind takes what nobody may do any more. The log knows better.
func TestWhatWasTakenBeforeUsersIsRefusedAfter(t *testing.T) {
	r := newRig(t, nil)
	r.put(t, "a", "1")
	r.put(t, "a", "2")
	var commands []proto.Message
	for _, request := range []proto.Message{
		&pb.PutRequest{Key: []byte("a")},
		&pb.CompactionRequest{Revision: 2},
		&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_CORRUPT},
		&pb.AuthDisableRequest{},
	} {
		command, err := r.server.onBehalf(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		commands = append(commands, command)
	}
	r.enableAuth(t)
	for _, command := range commands {
		if _, err := r.node.Propose(t.Context(), command); !errors.Is(err, auth.ErrUserEmpty) {
			t.Errorf("%T %v: %v, want %v", command, command, err, auth.ErrUserEmpty)
		}
	}
}

// sentChunks is a stream that remembers.
type sentChunks struct {
	grpc.ServerStream
	ctx  context.Context
	sent []*pb.RangeStreamResponse
}

func (s *sentChunks) Context() context.Context { return s.ctx }

func (s *sentChunks) Send(r *pb.RangeStreamResponse) error {
	s.sent = append(s.sent, r)
	return nil
}

// What is read after the users have changed is not for who was permitted before.
func TestStreamedRangeFailsWhereUsersChangeBeforeItsRevision(t *testing.T) {
	r := newAuthRig(t, nil)
	ctx := r.login(t, "root", "r")
	table := r.store.Auth()
	if _, err := r.client.RoleAdd(ctx, "role"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Put(ctx, "a", "secret"); err != nil {
		t.Fatal(err)
	}
	request := &pb.RangeRequest{Key: []byte("a")}
	for _, c := range []struct {
		table *auth.Table
		err   error
		sent  int
	}{{table, auth.ErrOldRevision, 0}, {r.store.Auth(), nil, 1}} {
		s := &sentChunks{ctx: t.Context()}
		if err := (&kvServer{Server: r.server}).sendChunks(request, c.table, s); !errors.Is(err, c.err) || len(s.sent) != c.sent {
			t.Errorf("users at revision %d: %v, %d chunks were sent; want %v, %d", c.table.Revision(), err, len(s.sent), c.err, c.sent)
		}
	}
}

// Metadata is bounded before it is kept.
func TestLargeMetadataIsRefused(t *testing.T) {
	r := newRig(t, nil)
	ctx := metadata.AppendToOutgoingContext(t.Context(), rpctypes.TokenFieldNameGRPC, strings.Repeat("x", 2*headerBytes))
	if _, err := pb.NewKVClient(r.conn).Range(ctx, &pb.RangeRequest{Key: []byte("a")}); err == nil || status.Code(err) == codes.OK {
		t.Error("two megabytes of token were taken")
	}
	r.put(t, "a", "1")
}
