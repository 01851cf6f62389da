package recipes

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// onEachStoreWithFaults is onEachStore with a client whose transactions can go wrong.
func onEachStoreWithFaults(t *testing.T, test func(*fixture, *faults)) {
	for name := range stores {
		t.Run(name, func(t *testing.T) {
			var faults faults
			test(newFixtureOn(t, name, faults.option()), &faults)
		})
	}
}

// isWrite tells transactions that may write from those that only read.
func isWrite(req *pb.TxnRequest) bool {
	for _, op := range append(req.Success, req.Failure...) {
		if op.GetRequestRange() == nil {
			return true
		}
	}
	return false
}

// everyWriteAnsweredLate loses the answer of each writing transaction the first time, after the store has applied it.
func everyWriteAnsweredLate() txnFault {
	var mu sync.Mutex
	seen := map[string]bool{}
	return func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		err := send(ctx)
		mu.Lock()
		defer mu.Unlock()
		if id := req.String(); isWrite(req) && !seen[id] {
			seen[id] = true
			return errors.Join(err, lostReply())
		}
		return err
	}
}

// everyNthWriteAnsweredLate loses the answer of every n-th writing transaction, after the store has applied it.
func everyNthWriteAnsweredLate(n int32) txnFault {
	var count atomic.Int32
	return func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		err := send(ctx)
		if isWrite(req) && count.Add(1)%n == 0 {
			return errors.Join(err, lostReply())
		}
		return err
	}
}

// holdUp keeps the transactions that match from the store until proceed is called, and tells of each that came.
func (f *faults) holdUp(match func(*pb.TxnRequest) bool) (came <-chan struct{}, proceed func()) {
	arrivals, gate := make(chan struct{}, 100), make(chan struct{})
	f.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		if match(req) {
			arrivals <- struct{}{}
			select {
			case <-gate:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return send(ctx)
	})
	return arrivals, func() { close(gate) }
}

// duplicates keeps every writing transaction, to send it once more.
type duplicates struct {
	mu   sync.Mutex
	sent []*pb.TxnRequest
}

func (d *duplicates) fault(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
	if isWrite(req) {
		d.mu.Lock()
		d.sent = append(d.sent, req)
		d.mu.Unlock()
	}
	return send(ctx)
}

// arrive sends all that was sent before once more. The store refuses what belongs to a lease that is gone.
func (d *duplicates) arrive(f *fixture) {
	f.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	f.beside(func(kv pb.KVClient) {
		for _, req := range d.sent {
			if _, err := kv.Txn(f.Context(), req); err != nil && !strings.Contains(err.Error(), "lease not found") {
				f.Error(err)
			}
		}
	})
}

// beside gives the function the store without the fixture's faults.
func (f *fixture) beside(do func(pb.KVClient)) {
	f.Helper()
	c, err := newClient(f.client.Endpoints()[0])
	if err != nil {
		f.Fatal(err)
	}
	defer c.Close()
	do(clientv3.RetryKVClient(c))
}

// below returns the keys that begin with prefix, oldest first.
func (f *fixture) below(prefix string) (keys []string) {
	f.Helper()
	resp, err := f.client.Get(f.Context(), prefix, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		f.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

// awaitBelow returns once n keys begin with prefix.
func (f *fixture) awaitBelow(prefix string, n int) []string {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	for range f.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
		if keys := f.below(prefix); len(keys) == n {
			return keys
		}
	}
	f.Fatal("the watch broke")
	return nil
}

// commits checks what a call costs.
func (f *fixture) commits(what string, want int64, do func() error) {
	f.Helper()
	at := f.revision()
	if err := do(); err != nil {
		f.Fatalf("%s: %v", what, err)
	}
	if got := f.revision() - at; got != want {
		f.Errorf("%s took %d commits, want %d", what, got, want)
	}
}

// later calls beside the test.
func later(call func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	return done
}

// pending fails when the call has returned.
func (f *fixture) pending(what string, done <-chan error) {
	f.Helper()
	select {
	case err := <-done:
		f.Fatalf("%s returned %v", what, err)
	default:
	}
}

// breakingWatches makes the first n watches of a client break when they are created, and tells when the next one stands.
func breakingWatches(n int32) (option grpc.DialOption, mended <-chan struct{}) {
	var created atomic.Int32
	stands := make(chan struct{})
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := streamer(ctx, desc, cc, method, opts...)
		if err != nil || !strings.HasSuffix(method, "/Watch") {
			return stream, err
		}
		return &cancellingStream{ClientStream: stream, ended: map[int64]bool{}, cancels: func() bool {
			i := created.Add(1)
			if i == n+1 {
				close(stands)
			}
			return i <= n
		}}, nil
	}), stands
}

// compactBehind compacts the store while the proxy's client cannot hear, so that its watches cannot go on from where they
// were, and returns when it hears again.
func (f *fixture) compactBehind(proxy *tcpProxy, s *Session) {
	f.Helper()
	proxy.partition(true)
	proxy.reset()
	for range 3 {
		if _, err := f.client.Put(f.Context(), f.options.Prefix+"/other", ""); err != nil {
			f.Fatal(err)
		}
	}
	if _, err := f.client.Compact(f.Context(), f.revision()); err != nil {
		f.Fatal(err)
	}
	proxy.partition(false)
	if err := s.retry(f.Context(), func(ctx context.Context) error {
		_, err := s.client.Get(ctx, "/")
		return err
	}); err != nil {
		f.Fatal(err)
	}
}
