package recipes

import (
	"context"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/coordd/coordd/e2e/proxy"
)

// txnFault stands between a client and its transactions. send performs the request and fills in the reply.
type txnFault func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error

// faults lets one txnFault at a time act on a client's transactions.
type faults struct {
	mu    sync.Mutex
	fault txnFault
}

func (f *faults) set(fault txnFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *faults) option() grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		send := func(ctx context.Context) error { return invoke(ctx, method, req, reply, cc, opts...) }
		f.mu.Lock()
		fault := f.fault
		f.mu.Unlock()
		txn, ok := req.(*pb.TxnRequest)
		if fault == nil || !ok {
			return send(ctx)
		}
		return fault(ctx, txn, send)
	})
}

func isEnqueue(req *pb.TxnRequest) bool {
	for _, op := range req.Success {
		if strings.Contains(string(op.GetRequestPut().GetKey()), queueDir) {
			return true
		}
	}
	return false
}

func isRemoval(req *pb.TxnRequest) bool {
	for _, op := range req.Success {
		if op.GetRequestDeleteRange() != nil {
			return true
		}
	}
	return false
}

// tcpProxy stands before one address. While partitioned it takes what comes and forwards nothing.
type tcpProxy struct{ *proxy.Proxy }

func newProxy(t *testing.T, endpoint string) *tcpProxy {
	t.Helper()
	p, err := proxy.Start(strings.TrimPrefix(endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return &tcpProxy{p}
}

func (p *tcpProxy) endpoint() string { return "http://" + p.Address() }

// partition begins or ends a silence in both directions.
func (p *tcpProxy) partition(on bool) {
	if on {
		p.Set(proxy.Faults{Requests: proxy.Hold, Replies: proxy.Hold})
		return
	}
	p.Heal()
}

// reset breaks every connection; new ones are accepted.
func (p *tcpProxy) reset() { p.Reset() }
