package rpc

import (
	"context"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// caller is who made a call, for requests that this member makes on his behalf
// with contexts of their own, as a session of recipes does.
type caller struct {
	*Server
	call context.Context // it never ends
}

func (s *Server) caller(ctx context.Context) caller { return caller{s, context.WithoutCancel(ctx)} }

// client returns a client of this member's own services, as Server.local does. Its
// errors have their wire form, by which recipes tell what to try again. It has no
// leases: those are leaseClient's.
func (c caller) client() *clientv3.Client {
	client := clientv3.NewCtxClient(c.call)
	client.KV = clientv3.NewKVFromKVClient(callerKV{localKV{&kvServer{Server: c.Server}}, c}, client)
	client.Watcher = clientv3.NewWatchFromWatchClient(callerWatch{c}, client)
	return client
}

func (c caller) leaseClient() pb.LeaseClient { return callerLease{&leaseServer{Server: c.Server}, c} }

// in returns ctx with the caller's identity.
func (c caller) in(ctx context.Context) context.Context { return callerContext{ctx, c.call} }

type callerContext struct {
	context.Context
	call context.Context
}

func (c callerContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.call.Value(key)
}

// callerKV is localKV for a caller.
type callerKV struct {
	localKV
	caller caller
}

func (k callerKV) Range(ctx context.Context, r *pb.RangeRequest, opts ...grpc.CallOption) (*pb.RangeResponse, error) {
	response, err := k.localKV.Range(k.caller.in(ctx), r, opts...)
	return response, wireError(err)
}

func (k callerKV) Put(ctx context.Context, r *pb.PutRequest, opts ...grpc.CallOption) (*pb.PutResponse, error) {
	response, err := k.localKV.Put(k.caller.in(ctx), r, opts...)
	return response, wireError(err)
}

func (k callerKV) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest, opts ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	response, err := k.localKV.DeleteRange(k.caller.in(ctx), r, opts...)
	return response, wireError(err)
}

func (k callerKV) Txn(ctx context.Context, r *pb.TxnRequest, opts ...grpc.CallOption) (*pb.TxnResponse, error) {
	response, err := k.localKV.Txn(k.caller.in(ctx), r, opts...)
	return response, wireError(err)
}

// callerWatch is localWatch for a caller.
type callerWatch struct{ caller caller }

func (w callerWatch) Watch(ctx context.Context, opts ...grpc.CallOption) (pb.Watch_WatchClient, error) {
	return localWatch{w.caller.Server}.Watch(w.caller.in(ctx), opts...)
}

// callerLease is the Lease service as its own client, for a caller.
type callerLease struct {
	server *leaseServer
	caller caller
}

// LeaseGrant awaits the outcome: a lease whose grant is not known would be left behind.
func (l callerLease) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest, _ ...grpc.CallOption) (*pb.LeaseGrantResponse, error) {
	response, err := l.server.LeaseGrant(context.WithoutCancel(l.caller.in(ctx)), r)
	return response, wireError(err)
}

func (l callerLease) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest, _ ...grpc.CallOption) (*pb.LeaseRevokeResponse, error) {
	response, err := l.server.LeaseRevoke(context.WithoutCancel(l.caller.in(ctx)), r)
	return response, wireError(err)
}

func (l callerLease) LeaseKeepAlive(ctx context.Context, _ ...grpc.CallOption) (pb.Lease_LeaseKeepAliveClient, error) {
	return &localKeepAlive{ctx: l.caller.in(ctx), server: l.server}, nil
}

func (callerLease) LeaseTimeToLive(context.Context, *pb.LeaseTimeToLiveRequest, ...grpc.CallOption) (*pb.LeaseTimeToLiveResponse, error) {
	return nil, status.Error(codes.Unimplemented, "coordd: not of use to recipes")
}

func (callerLease) LeaseLeases(context.Context, *pb.LeaseLeasesRequest, ...grpc.CallOption) (*pb.LeaseLeasesResponse, error) {
	return nil, status.Error(codes.Unimplemented, "coordd: not of use to recipes")
}

// localKeepAlive is a stream of renewals both of whose ends are in this process:
// Recv handles the request that was sent last. One goroutine uses it.
type localKeepAlive struct {
	grpc.ClientStream // nil: there are no headers and trailers
	ctx               context.Context
	server            *leaseServer
	sent              *pb.LeaseKeepAliveRequest
}

func (s *localKeepAlive) Context() context.Context { return s.ctx }

// CloseSend does nothing: there is nobody to tell.
func (s *localKeepAlive) CloseSend() error { return nil }

func (s *localKeepAlive) Send(r *pb.LeaseKeepAliveRequest) error {
	s.sent = r
	return nil
}

func (s *localKeepAlive) Recv() (*pb.LeaseKeepAliveResponse, error) {
	if s.sent == nil {
		return nil, io.EOF
	}
	r := s.sent
	s.sent = nil
	response, err := s.server.keepAlive(s.ctx, r)
	if err != nil {
		return nil, wireError(err)
	}
	return response, nil
}
