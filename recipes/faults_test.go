package recipes

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
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

// tcpProxy forwards connections to one address. While partitioned it takes what comes and forwards nothing.
type tcpProxy struct {
	listener net.Listener
	target   string
	tasks    sync.WaitGroup

	mu     sync.Mutex
	healed *sync.Cond
	cut    bool
	closed bool
	conns  []net.Conn
}

func newProxy(t *testing.T, endpoint string) *tcpProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tcpProxy{listener: l, target: strings.TrimPrefix(endpoint, "http://")}
	p.healed = sync.NewCond(&p.mu)
	p.tasks.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *tcpProxy) endpoint() string { return "http://" + p.listener.Addr().String() }

func (p *tcpProxy) accept() {
	for {
		down, err := p.listener.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.target)
		if err != nil {
			down.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, down, up)
		p.mu.Unlock()
		p.tasks.Go(func() { p.pump(up, down) })
		p.tasks.Go(func() { p.pump(down, up) })
	}
}

func (p *tcpProxy) pump(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.cut && !p.closed {
			p.healed.Wait()
		}
		p.mu.Unlock()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// partition begins or ends a silence in both directions.
func (p *tcpProxy) partition(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = on
	p.healed.Broadcast()
}

// reset breaks every connection; new ones are accepted.
func (p *tcpProxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func (p *tcpProxy) close() {
	p.mu.Lock()
	p.closed = true
	p.healed.Broadcast()
	p.mu.Unlock()
	p.listener.Close()
	p.reset()
	p.tasks.Wait()
}
