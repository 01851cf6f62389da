package rpc

import (
	"context"
	"sync"

	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// local returns a client of this member's own services for what a call does by
// way of recipes. Its requests come with contexts that are made of the call's,
// and so with the caller's identity: what the caller may not do is refused. It
// is closed when the call ends. It has no leases.
func (s *Server) local(ctx context.Context) *clientv3.Client {
	c := clientv3.NewCtxClient(ctx)
	c.KV = clientv3.NewKVFromKVClient(localKV{&kvServer{Server: s}}, c)
	c.Watcher = clientv3.NewWatchFromWatchClient(localWatch{s}, c)
	return c
}

// localKV is the KV service as its own client. Errors stay those of the inside:
// the call gives them their wire form. The outcome of a write is always awaited,
// for what is written by a caller that has gone must be known, to be undone.
type localKV struct{ server *kvServer }

func (l localKV) Range(ctx context.Context, r *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	return l.server.Range(ctx, r)
}

func (l localKV) Put(ctx context.Context, r *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	return l.server.Put(context.WithoutCancel(ctx), r)
}

func (l localKV) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest, _ ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return l.server.DeleteRange(context.WithoutCancel(ctx), r)
}

func (l localKV) Txn(ctx context.Context, r *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	if !kvcore.IsReadOnly(r) {
		ctx = context.WithoutCancel(ctx)
	}
	return l.server.Txn(ctx, r)
}

func (localKV) RangeStream(context.Context, *pb.RangeRequest, ...grpc.CallOption) (pb.KV_RangeStreamClient, error) {
	return nil, status.Error(codes.Unimplemented, "coordd: not of use to recipes")
}

func (localKV) Compact(context.Context, *pb.CompactionRequest, ...grpc.CallOption) (*pb.CompactionResponse, error) {
	return nil, status.Error(codes.Unimplemented, "coordd: not of use to recipes")
}

// localWatch is the Watch service as its own client.
type localWatch struct{ server *Server }

func (l localWatch) Watch(ctx context.Context, _ ...grpc.CallOption) (pb.Watch_WatchClient, error) {
	s := &localWatchStream{ctx: ctx}
	s.watchers = newWatchStream(l.server, s.push)
	// The client may leave without another Recv.
	context.AfterFunc(ctx, func() { s.end(ctx.Err()) })
	return s, nil
}

// localWatchStream is a watch stream both of whose ends are in this process. It
// has no goroutine of its own: whoever sends handles the request, and whoever
// receives pulls the events. It reports no progress.
type localWatchStream struct {
	grpc.ClientStream // nil: there are no headers and trailers
	ctx               context.Context

	mu       sync.Mutex // guards all below, but for watchers.wake
	watchers *watchStream
	ready    []*pb.WatchResponse // to be received; bound: one for each request, and a turn's
	failed   error
}

func (s *localWatchStream) Context() context.Context { return s.ctx }

// CloseSend does nothing: the stream ends with its context.
func (s *localWatchStream) CloseSend() error { return nil }

// Send does not wait for anybody to receive: the client sends from the goroutine
// that takes what is received.
func (s *localWatchStream) Send(r *pb.WatchRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = s.watchers.handle(s.ctx, r)
	}
	s.watchers.poke()
	return s.failed
}

// end ends the stream and its watchers; afterwards none is made.
func (s *localWatchStream) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = why
	s.watchers.close()
}

// Recv is called by one goroutine.
func (s *localWatchStream) Recv() (*pb.WatchResponse, error) {
	for {
		r, err := s.take()
		if r != nil || err != nil {
			return r, err
		}
		select {
		case <-s.watchers.wake:
		case <-s.ctx.Done():
			return nil, s.ctx.Err()
		}
	}
}

// take returns the next response, nil if there is none now, or why the stream
// has failed.
func (s *localWatchStream) take() (*pb.WatchResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ready) == 0 && s.failed == nil {
		s.failed = s.watchers.serveNext()
	}
	if s.failed != nil {
		s.watchers.close()
		return nil, s.failed
	}
	if len(s.ready) == 0 {
		return nil, nil
	}
	r := s.ready[0]
	s.ready = s.ready[1:]
	return r, nil
}

func (s *localWatchStream) push(r *pb.WatchResponse) error {
	s.ready = append(s.ready, r)
	return nil
}
