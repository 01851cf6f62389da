package recipes

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func TestD1TwoLocksOfOneSessionExcludeEachOther(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	first := f.lock(m)
	if _, err := m.TryLock(t.Context()); !errors.Is(err, ErrLocked) {
		t.Fatalf("TryLock beside a holder of the same session: %v", err)
	}
	later := f.lockLater(t.Context(), f.mutex(f.session, "one"))
	if keys := f.awaitQueue(m, 2); keys[0] != first.Key() {
		t.Fatalf("queue is %v, held by %s", keys, first.Key())
	}
	select {
	case o := <-later:
		t.Fatalf("second Lock of the session returned %v beside the first", o)
	default:
	}
	f.unlock(first)
	second := <-later
	if second.err != nil {
		t.Fatal(second.err)
	}
	if second.hold.Key() == first.Key() {
		t.Fatal("two attempts share a key")
	}
}

func TestD2LosingTryLockDisturbsNobody(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	holder := f.lock(m)
	waiter := f.lockLater(t.Context(), m)
	before, revision := f.awaitQueue(m, 2), f.revision()
	if _, err := m.TryLock(t.Context()); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	if after := f.queue(m); strings.Join(after, " ") != strings.Join(before, " ") || f.revision() != revision {
		t.Fatalf("TryLock changed the queue from %v to %v", before, after)
	}
	f.unlock(holder)
	if o := <-waiter; o.err != nil {
		t.Fatal(o.err)
	}
}

func TestD2RecreatedKeyIsNotOwned(t *testing.T) {
	f := newFixture(t)
	holder := f.lock(f.mutex(f.session, "one"))
	for _, op := range []clientv3.Op{clientv3.OpDelete(holder.Key()), clientv3.OpPut(holder.Key(), "again")} {
		if _, err := f.client.Do(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	if err := holder.Verify(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("Verify: %v", err)
	}
	if resp, err := f.client.Txn(t.Context()).If(holder.Guard()).Commit(); err != nil || resp.Succeeded {
		t.Errorf("guard holds for a key made by somebody else: %v", err)
	}
	if err := holder.Unlock(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("Unlock: %v", err)
	}
	if resp, err := f.client.Get(t.Context(), holder.Key()); err != nil || len(resp.Kvs) != 1 {
		t.Errorf("Unlock deleted a key of another create revision: %v", err)
	}
}

// A waiter whose entry vanishes in the very transaction that makes the way free must not take the lock.
func TestD3WaiterWithoutEntryIsNoOwner(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	holder := f.lock(m)
	waiter := f.lockLater(t.Context(), m)
	f.awaitQueue(m, 2)
	if _, err := f.client.Delete(t.Context(), m.path+queueDir, clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if o := <-waiter; !errors.Is(o.err, ErrLost) || !errors.Is(o.err, ErrKeyDeleted) {
		t.Fatalf("Lock returned %v, %v", o.hold, o.err)
	}
	<-holder.Context().Done()
}

func TestD5LostConnectionsAreNeverSuccess(t *testing.T) {
	f := newFixture(t)
	proxy := newProxy(t, startServer(t))
	other := openSession(t, dial(t, proxy.endpoint()), 60)
	m := f.mutex(f.session, "one")
	holder := f.lock(m)
	waiter := f.lockLater(t.Context(), f.mutex(other, "one"))
	f.awaitQueue(m, 2)
	for range 3 {
		proxy.reset()
		if err := other.retry(t.Context(), func(ctx context.Context) error {
			_, err := other.client.Get(ctx, "/")
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case o := <-waiter:
		t.Fatalf("Lock returned %v while the lock was held", o)
	default:
	}
	f.unlock(holder)
	if o := <-waiter; o.err != nil {
		t.Fatal(o.err)
	}
}

func TestD5BrokenWatchIsNeverSuccess(t *testing.T) {
	const broken = 4
	var created atomic.Int32
	mended := make(chan struct{})
	option := grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := streamer(ctx, desc, cc, method, opts...)
		if err != nil || !strings.HasSuffix(method, "/Watch") {
			return stream, err
		}
		return &cancellingStream{ClientStream: stream, ended: map[int64]bool{}, cancels: func() bool {
			n := created.Add(1)
			if n == broken+1 {
				close(mended)
			}
			return n <= broken
		}}, nil
	})
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	holder := f.lock(m)
	other := openSession(t, dial(t, startServer(t), option), 60)
	waiter := f.lockLater(t.Context(), f.mutex(other, "one"))
	<-mended
	select {
	case o := <-waiter:
		t.Fatalf("Lock returned %v while the lock was held", o)
	default:
	}
	f.unlock(holder)
	if o := <-waiter; o.err != nil {
		t.Fatal(o.err)
	}
}

func lostReply() error { return status.Error(codes.Unavailable, "the reply was lost") }

func TestD6LostReplyOfEnqueue(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m := f.mutex(f.session, "one")
	faults.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		err := send(ctx)
		if isEnqueue(req) {
			faults.set(nil)
			return errors.Join(err, lostReply())
		}
		return err
	})
	holder := f.lock(m)
	if keys := f.queue(m); len(keys) != 1 || keys[0] != holder.Key() {
		t.Fatalf("queue is %v, held by %s", keys, holder.Key())
	}
	if err := holder.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.unlock(holder)
	if keys := f.queue(m); len(keys) != 0 {
		t.Fatalf("left behind: %v", keys)
	}
}

func TestD6CancelledLockLeavesNoOrphan(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m := f.mutex(f.session, "one")
	ctx, cancel := context.WithCancel(t.Context())
	faults.set(func(c context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		err := send(c)
		if isEnqueue(req) {
			cancel()
			return errors.Join(err, lostReply())
		}
		return err
	})
	if _, err := m.Lock(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if keys := f.queue(m); len(keys) != 0 {
		t.Fatalf("orphans: %v", keys)
	}
}

func TestD6JanitorRemovesWhatTheCallerCouldNot(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m := f.mutex(f.session, "one")
	ctx, cancel := context.WithCancel(t.Context())
	var refusals atomic.Int32
	faults.set(func(c context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		switch {
		case isEnqueue(req):
			err := send(c)
			cancel()
			return errors.Join(err, lostReply())
		case isRemoval(req) && refusals.Add(1) < 2:
			return lostReply()
		}
		return send(c)
	})
	if _, err := m.Lock(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	f.awaitQueue(m, 0)
}

func TestD6DelayedEnqueueCannotFollowItsCleanUp(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m := f.mutex(f.session, "one")
	ctx, cancel := context.WithCancel(t.Context())
	var delayed func(context.Context) error
	faults.set(func(c context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		if isEnqueue(req) {
			delayed = send
			cancel()
			return lostReply()
		}
		return send(c)
	})
	if _, err := m.Lock(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if delayed == nil {
		t.Fatal("no enqueue was delayed")
	}
	if err := delayed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if keys := f.queue(m); len(keys) != 0 {
		t.Fatalf("the delayed enqueue left %v", keys)
	}
	// When the session, and with it the mark, is gone, the lease is what refuses it.
	if err := f.session.Close(); err != nil {
		t.Fatal(err)
	}
	if err := delayed(t.Context()); err == nil {
		t.Error("the delayed enqueue was accepted after the session's end")
	}
	if keys := f.queue(m); len(keys) != 0 {
		t.Fatalf("the delayed enqueue left %v after the session's end", keys)
	}
}

// The repeated request of an enqueue must not come back after the unlock either.
func TestD6DelayedDuplicateCannotFollowUnlock(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m := f.mutex(f.session, "one")
	var delayed func(context.Context) error
	faults.set(func(c context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		if isEnqueue(req) {
			delayed = send
			faults.set(nil)
			return lostReply()
		}
		return send(c)
	})
	f.unlock(f.lock(m))
	if err := delayed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if keys := f.queue(m); len(keys) != 0 {
		t.Fatalf("the delayed duplicate left %v", keys)
	}
}

func TestD7NoNameIsAnothersPrefix(t *testing.T) {
	names := []string{"jobs", "jobs/", "jobs/nightly", "jobs/q", "jobs/q/", "jobs/q/00", "jobs%2Fnightly", "jobs%", "%", "/", "//", "q", "x", ".", "..", "\x00", "\xff", "jobs nightly", "é"}
	f := newFixture(t)
	backwards := slices.Clone(names)
	slices.Reverse(backwards)
	for _, order := range [][]string{names, backwards} { // whether "a" or "a/b" is first
		var holds []*Hold
		for _, name := range order {
			hold, err := f.mutex(f.session, name).TryLock(t.Context())
			if err != nil {
				t.Errorf("%q: %v", name, err)
				continue
			}
			holds = append(holds, hold)
		}
		for _, hold := range holds {
			f.unlock(hold)
		}
	}
	for i, a := range names {
		for _, b := range names[i+1:] {
			pa, pb := "/"+escape(a)+"/", "/"+escape(b)+"/"
			if strings.HasPrefix(pa, pb) || strings.HasPrefix(pb, pa) {
				t.Errorf("%q and %q meet: %s %s", a, b, pa, pb)
			}
		}
	}
	for _, name := range []string{"", strings.Repeat("n", MaxNameBytes+1)} {
		if _, err := f.mutex(f.session, name).Lock(t.Context()); !errors.Is(err, ErrInvalidName) {
			t.Errorf("name of %d bytes: %v", len(name), err)
		}
	}
}

// cancellingStream cancels watches as soon as they are created, as a server may. They are cancelled after they were
// created, not by the same message: when two are refused at once, etcd's client watches nothing any more (its stream's
// run waits for a substream that it forgot).
type cancellingStream struct {
	grpc.ClientStream
	cancels func() bool // of the next that is created

	next  *pb.WatchResponse // owned by RecvMsg
	ended map[int64]bool    // watch ids of which nothing may come any more; owned by RecvMsg
}

func (s *cancellingStream) RecvMsg(m any) error {
	resp := m.(*pb.WatchResponse)
	if s.next != nil {
		proto.Merge(resp, s.next)
		s.next = nil
		return nil
	}
	err := s.ClientStream.RecvMsg(m)
	for err == nil && s.ended[resp.WatchId] {
		proto.Reset(resp)
		err = s.ClientStream.RecvMsg(m)
	}
	if err == nil && resp.Created && s.cancels() {
		s.next = &pb.WatchResponse{Header: resp.Header, WatchId: resp.WatchId, Canceled: true, CancelReason: "the watch broke"}
		s.ended[resp.WatchId] = true
	}
	return err
}

// alteredStream passes each message received through altered.
type alteredStream struct {
	grpc.ClientStream
	altered func(m any, err error) error
}

func (s *alteredStream) RecvMsg(m any) error { return s.altered(m, s.ClientStream.RecvMsg(m)) }

func TestD8ValidityCountsFromTheSending(t *testing.T) {
	var clock, answers atomic.Int64
	var once sync.Once
	second := make(chan struct{})
	// The first keepalive is answered a second after it was sent, by the clock below; the others never.
	slow := grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := streamer(ctx, desc, cc, method, opts...)
		if err != nil || !strings.HasSuffix(method, "/LeaseKeepAlive") {
			return stream, err
		}
		return &alteredStream{stream, func(_ any, err error) error {
			if answers.Add(1) == 1 {
				clock.Add(int64(time.Second))
				return err
			}
			once.Do(func() { close(second) })
			return lostReply()
		}}, nil
	})
	c := dial(t, startServer(t), slow)
	s, err := newSession(t.Context(), c, &SessionOptions{TTLSeconds: 3, MaxDrift: 0.1}, func() time.Duration { return time.Duration(clock.Load()) })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ttl := float64(s.ttl)
	if got, want := s.deadline.Load(), int64(ttl*0.9); got != want {
		t.Fatalf("validity after the grant ends at %d, want %d", got, want)
	}
	clock.Store(int64(time.Second))
	<-second // the first answer has been taken in, at 2 s
	if got, want := s.deadline.Load(), int64(time.Second)+int64(ttl*0.9); got != want {
		t.Fatalf("validity after a keepalive sent at 1 s ends at %d, want %d", got, want)
	}
	clock.Store(s.deadline.Load() - 1)
	if err := s.Valid(); err != nil {
		t.Fatalf("just before the deadline: %v", err)
	}
	clock.Add(1)
	if err := s.Valid(); !errors.Is(err, ErrSessionExpired) || s.Context().Err() == nil {
		t.Fatalf("at the deadline: %v", err)
	}
	clock.Store(0)
	if err := s.Valid(); !errors.Is(err, ErrLost) {
		t.Fatalf("an expired session came back: %v", err)
	}
}

// Behind a partition the holder must know of its end before the store gives the lock to the next.
func TestD8HolderKnowsBeforeTheNextHolds(t *testing.T) {
	f := newFixture(t)
	proxy := newProxy(t, startServer(t))
	other := openSession(t, dial(t, proxy.endpoint()), 2)
	m := f.mutex(other, "one")
	holder := f.lock(m)
	proxy.partition(true)
	next := f.lock(f.mutex(f.session, "one"))
	if err := holder.Valid(); !errors.Is(err, ErrSessionExpired) {
		t.Errorf("two holders: the first is %v", err)
	}
	if cause := context.Cause(holder.Context()); !errors.Is(cause, ErrLost) {
		t.Errorf("the first holder's context is %v", cause)
	}
	if c, err := holder.Token().Compare(next.Token()); err != nil || c >= 0 {
		t.Errorf("tokens %s, then %s: %v", holder.Token(), next.Token(), err)
	}
	proxy.partition(false)
}
