package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/proto/v3lockpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// callTimeout bounds one unary call.
const callTimeout = 15 * time.Second

// rig is a body's way to one of the servers. Unary calls go into the transcript by
// themselves; what comes from streams is noted by the body, since how a server cuts
// it into messages is its own affair.
type rig struct {
	testing.TB
	ctx        context.Context
	cluster    *cluster.Cluster
	at         int // the member that is talked to
	transcript *transcript
	seen       *coverage // nil where it does not count

	pb.KVClient
	pb.WatchClient
	pb.LeaseClient
	pb.ClusterClient
	pb.MaintenanceClient
	pb.AuthClient
	v3lockpb.LockClient
	v3electionpb.ElectionClient
	conn *grpc.ClientConn
}

// newRig connects to the cluster's first member.
func newRig(t testing.TB, c *cluster.Cluster, seen *coverage) *rig {
	t.Helper()
	r := &rig{TB: t, ctx: t.Context(), cluster: c, transcript: new(transcript), seen: seen}
	return r.member(0)
}

// member returns a rig with the same transcript that talks to another member.
func (r *rig) member(i int) *rig {
	r.Helper()
	at := *r
	at.at = i
	conn, err := grpc.NewClient("passthrough:///"+hostOf(r.cluster.Members[i].ClientURL),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(at.recordUnary),
		grpc.WithChainStreamInterceptor(at.recordStream),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	at.conn = conn
	at.KVClient, at.WatchClient, at.LeaseClient = pb.NewKVClient(conn), pb.NewWatchClient(conn), pb.NewLeaseClient(conn)
	at.ClusterClient, at.MaintenanceClient, at.AuthClient = pb.NewClusterClient(conn), pb.NewMaintenanceClient(conn), pb.NewAuthClient(conn)
	at.LockClient, at.ElectionClient = v3lockpb.NewLockClient(conn), v3electionpb.NewElectionClient(conn)
	return &at
}

// unnoted returns a rig for calls whose answers are not noted as a whole.
func (r *rig) unnoted() *rig {
	r.Helper()
	at := *r
	at.transcript = new(transcript)
	return at.member(r.at)
}

// apart returns a rig for calls whose answers depend on the moment, or that go beside
// others: they are neither noted nor counted.
func (r *rig) apart() *rig {
	r.Helper()
	at := *r
	at.seen = nil
	return at.unnoted()
}

// as returns a rig whose calls carry a user's token.
func (r *rig) as(token string) *rig {
	at := *r
	at.ctx = metadata.AppendToOutgoingContext(r.ctx, "token", token)
	return &at
}

// note adds to the transcript what the body found out in another way.
func (r *rig) note(format string, args ...any) { r.transcript.addf(format, args...) }

func (r *rig) recordUnary(ctx context.Context, method string, req, resp any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := invoke(ctx, method, req, resp, conn, opts...)
	r.seen.called(method, req.(proto.Message), err)
	if err == nil {
		r.seen.answered(method, resp.(proto.Message))
	}
	r.transcript.call(method, req.(proto.Message), resp.(proto.Message), err)
	return err
}

func (r *rig) recordStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, start grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := start(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	return &countedStream{stream, r.seen, method}, nil
}

// countedStream tells the coverage what goes over a stream.
type countedStream struct {
	grpc.ClientStream
	seen   *coverage
	method string
}

func (s *countedStream) SendMsg(m any) error {
	s.seen.called(s.method, m.(proto.Message), nil)
	return s.ClientStream.SendMsg(m)
}

func (s *countedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil {
		s.seen.failed(s.method, err)
		return err
	}
	s.seen.answered(s.method, m.(proto.Message))
	return nil
}
