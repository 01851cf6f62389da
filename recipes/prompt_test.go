package recipes

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

func TestCoorddIsFoundPrompt(t *testing.T) {
	if flag.Lookup("on-etcd").Value.String() == "true" {
		t.Skip("etcd is not")
	}
	f := newFixture(t)
	for !f.session.prompt.Load() {
		if err := f.session.Valid(); err != nil || t.Context().Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// What happens between the entering of a line and the watch of the one ahead is not missed, whatever is thought of the
// store, and a prompt store is asked for nothing.
func TestReleaseBeforeTheWatchIsSeen(t *testing.T) {
	for _, prompt := range []bool{true, false} {
		onEachStore(t, func(f *fixture) {
			away, bill, gate := *f, &bill{}, newWatchGate()
			away.client = dial(f.T, f.client.Endpoints()[0], append(bill.options(), gate.option())...)
			away.session = openSession(f.T, away.client, 60)
			<-gate.passed // the watch of the epoch
			away.session.prompt.Store(prompt)
			held := f.lock(f.mutex(f.session, "one"))
			gate.shut()
			m := away.mutex(away.session, "one")
			later := away.lockLater(context.WithValue(f.Context(), callers{}, true), m)
			f.awaitQueue(m, 2)
			<-gate.reached
			f.unlock(held)
			gate.open()
			h := away.await(later)
			if _, reads := bill.take(); prompt && reads != 0 {
				f.Errorf("%d reads on a prompt store", reads)
			}
			away.unlock(h)
		})
	}
}

// A waiter whose key is deleted before it watches is told.
func TestPlaceDeletedBeforeTheWatch(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		away, gate := *f, newWatchGate()
		away.client = dial(f.T, f.client.Endpoints()[0], gate.option())
		away.session = openSession(f.T, away.client, 60)
		<-gate.passed
		away.session.prompt.Store(true)
		held := f.lock(f.mutex(f.session, "one"))
		gate.shut()
		m := away.mutex(away.session, "one")
		later := away.lockLater(f.Context(), m)
		keys := f.awaitQueue(m, 2)
		<-gate.reached
		if _, err := f.client.Delete(f.Context(), keys[1]); err != nil {
			f.Fatal(err)
		}
		gate.open()
		if o := <-later; o.hold != nil {
			f.Error("a waiter whose key was deleted has the lock")
		}
		f.unlock(held)
	})
}

// In a long line the own key is not watched at once. That the place is lost is seen all the same.
func TestPlaceDeletedInALongLine(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		m := f.mutex(f.session, "one")
		var others []clientv3.Op
		for i := range shortLine + 1 {
			others = append(others, clientv3.OpPut(fmt.Sprintf("%s%s%02d", m.path, writersDir, i), ""))
		}
		if _, err := f.client.Txn(f.Context()).Then(others...).Commit(); err != nil {
			f.Fatal(err)
		}
		later := f.lockLater(f.Context(), m)
		keys := f.awaitQueue(m, shortLine+2)
		if _, err := f.client.Delete(f.Context(), keys[shortLine+1]); err != nil {
			f.Fatal(err)
		}
		if o := <-later; !errors.Is(o.err, ErrKeyDeleted) {
			f.Errorf("a waiter whose key was deleted got %v, %v", o.hold, o.err)
		}
	})
}

// watchGate holds requests for watches up while it is shut.
type watchGate struct {
	reached, passed chan struct{} // a request has come to the gate; has gone through; both hold one

	mu     sync.Mutex
	closed chan struct{} // nil while open
}

func newWatchGate() *watchGate {
	return &watchGate{reached: make(chan struct{}, 1), passed: make(chan struct{}, 1)}
}

func (g *watchGate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *watchGate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed)
	g.closed = nil
}

func (g *watchGate) pass() {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		offer(g.reached)
		<-closed
	}
	offer(g.passed)
}

func offer(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (g *watchGate) option() grpc.DialOption {
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := streamer(ctx, desc, cc, method, opts...)
		if err == nil && strings.HasSuffix(method, "/Watch") {
			stream = gatedStream{stream, g}
		}
		return stream, err
	})
}

type gatedStream struct {
	grpc.ClientStream
	gate *watchGate
}

func (s gatedStream) SendMsg(m any) error {
	if m.(*pb.WatchRequest).GetCreateRequest() != nil {
		s.gate.pass()
	}
	return s.ClientStream.SendMsg(m)
}
