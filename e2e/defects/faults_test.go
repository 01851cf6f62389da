package defects

import (
	"context"
	"net"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// cable is what clients are connected by. Cut, it carries nothing and breaks no connection.
type cable struct {
	mu     sync.Mutex
	cut    bool
	mended sync.Cond
}

func newCable() *cable {
	c := &cable{}
	c.mended.L = &c.mu
	return c
}

func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	c.mended.Broadcast()
}

func (c *cable) await() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.cut {
		c.mended.Wait()
	}
}

func (c *cable) option() grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", address)
		return cabled{conn, c}, err
	})
}

// cabled is a connection over a cable.
type cabled struct {
	net.Conn
	cable *cable
}

func (c cabled) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.cable.await()
	return n, err
}

func (c cabled) Write(p []byte) (int, error) {
	c.cable.await()
	return c.Conn.Write(p)
}

// afterFirst lets act happen between the store's answer to a client's first request of a kind and the client's seeing it.
// The error of act is what the client sees. The test fails if that moment never comes.
func (r *rig) afterFirst(is func(req any) bool, act func() error) grpc.DialOption {
	var once sync.Once
	r.Cleanup(func() { once.Do(func() { r.Error("the fault did not happen") }) })
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if err == nil && is(req) {
			once.Do(func() { err = act() })
		}
		return err
	})
}

// enters is a transaction that puts something, as those do by which one enters a queue.
func enters(req any) bool {
	txn, ok := req.(*pb.TxnRequest)
	if !ok {
		return false
	}
	for _, op := range txn.Success {
		if op.GetRequestPut() != nil {
			return true
		}
	}
	return false
}

// reads is a request that reads a key of the name, and writes nothing.
func reads(name string) func(req any) bool {
	has := func(get *pb.RangeRequest) bool { return get != nil && strings.Contains(string(get.Key), name) }
	return func(req any) bool {
		if get, ok := req.(*pb.RangeRequest); ok {
			return has(get)
		}
		txn, ok := req.(*pb.TxnRequest)
		return ok && !enters(req) && len(txn.Success) > 0 && has(txn.Success[0].GetRequestRange())
	}
}

func lostReply() error { return status.Error(codes.Unavailable, "the reply was lost") }

// watches stands between a client and its watches. The first few are cancelled as soon as they are created.
type watches struct {
	mu        sync.Mutex
	toBreak   int
	compacted int64         // revisions up to here cannot be watched any more
	settled   chan struct{} // closed when a watch stands that nothing will end
	stands    bool
}

func newWatches(toBreak int) *watches {
	return &watches{toBreak: toBreak, settled: make(chan struct{})}
}

func (w *watches) option() grpc.DialOption {
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := streamer(ctx, desc, cc, method, opts...)
		if err != nil || !strings.HasSuffix(method, "/Watch") {
			return stream, err
		}
		return &watchStream{ClientStream: stream, watches: w}, nil
	})
}

func (w *watches) compactedTo(revision int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.compacted = revision
}

func (w *watches) created(resp *pb.WatchResponse, from int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.toBreak > 0:
		w.toBreak--
		resp.Canceled, resp.CancelReason = true, "the watch broke"
	case !w.stands && (from == 0 || from > w.compacted):
		w.stands = true
		close(w.settled)
	}
}

// watchStream is one stream of watches. The client creates them one after the other.
type watchStream struct {
	grpc.ClientStream
	watches *watches

	mu   sync.Mutex
	from int64 // of the last create request
}

func (s *watchStream) SendMsg(m any) error {
	if create := m.(*pb.WatchRequest).GetCreateRequest(); create != nil {
		s.mu.Lock()
		s.from = create.StartRevision
		s.mu.Unlock()
	}
	return s.ClientStream.SendMsg(m)
}

func (s *watchStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if resp, ok := m.(*pb.WatchResponse); ok && err == nil && resp.Created && !resp.Canceled {
		s.mu.Lock()
		from := s.from
		s.mu.Unlock()
		s.watches.created(resp, from)
	}
	return err
}

// keptAlive sends the leases whose keepalives were answered, as long as there is room.
func keptAlive(answered chan<- clientv3.LeaseID) grpc.DialOption {
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := streamer(ctx, desc, cc, method, opts...)
		if err != nil || !strings.HasSuffix(method, "/LeaseKeepAlive") {
			return stream, err
		}
		return keepAliveStream{stream, answered}, nil
	})
}

type keepAliveStream struct {
	grpc.ClientStream
	answered chan<- clientv3.LeaseID
}

func (s keepAliveStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if resp, ok := m.(*pb.LeaseKeepAliveResponse); ok && err == nil {
		select {
		case s.answered <- clientv3.LeaseID(resp.ID):
		default:
		}
	}
	return err
}
