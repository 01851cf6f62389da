package recipes

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"

	"github.com/coordd/coordd/e2e/history"
)

// office is an election of the test's own.
func (f *fixture) office(s *Session) *Election {
	return NewElection(s, f.options.Prefix, &ElectionOptions{EtcdLayout: true})
}

// etcdMutex is the mutex of the same queue.
func (f *fixture) etcdMutex(s *Session) *Mutex {
	return NewMutex(s, f.options.Prefix, &MutexOptions{EtcdLayout: true})
}

func (f *fixture) campaign(e *Election, value string) *Leadership {
	f.Helper()
	l, err := e.Campaign(f.Context(), value)
	if err != nil {
		f.Fatal(err)
	}
	return l
}

type term struct {
	leadership *Leadership
	err        error
}

// campaignLater stands beside the test and delivers the outcome.
func (f *fixture) campaignLater(ctx context.Context, e *Election, value string) <-chan term {
	done := make(chan term, 1)
	go func() {
		l, err := e.Campaign(ctx, value)
		done <- term{l, err}
	}()
	return done
}

// awaitCandidates returns once n candidates stand.
func (f *fixture) awaitCandidates(n int) {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	for range f.client.Watch(ctx, f.options.Prefix+"/", clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
		resp, err := f.client.Get(ctx, f.options.Prefix+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			f.Fatal(err)
		}
		if resp.Count == int64(n) {
			return
		}
	}
	f.Fatal("the watch of the candidates broke")
}

// awaitTerm fails the test unless the outcome is a leadership.
func (f *fixture) awaitTerm(later <-chan term) *Leadership {
	f.Helper()
	o := <-later
	if o.err != nil {
		f.Fatal(o.err)
	}
	return o.leadership
}

func (f *fixture) resign(l *Leadership) {
	f.Helper()
	if err := l.Resign(f.Context()); err != nil {
		f.Fatal(err)
	}
}

// wantGuard asks the store whether the leadership lasts.
func (f *fixture) wantGuard(l *Leadership, want bool) {
	f.Helper()
	resp, err := f.client.Txn(f.Context()).If(l.Guard()).Commit()
	if err != nil || resp.Succeeded != want {
		f.Fatalf("guard of the leadership is %v, want %v: %v", resp.Succeeded, want, err)
	}
}

// Three candidates, two of them of one session, lead one after the other.
func TestElectionHasOneLeader(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		e := f.office(f.session)
		first := f.campaign(e, "one")
		second := f.campaignLater(f.Context(), e, "two")
		f.awaitCandidates(2)
		third := f.campaignLater(f.Context(), f.office(openSession(f, f.client, 60)), "three")
		f.awaitCandidates(3)
		select {
		case <-second:
			f.Fatal("two candidates of one session lead")
		case <-third:
			f.Fatal("two sessions lead")
		default:
		}
		for i, next := range []<-chan term{second, third} {
			if now, err := e.Leader(f.Context()); err != nil || string(now.KV.Key) != first.Key() {
				f.Fatalf("leader %d: %v, %v", i, now.KV, err)
			}
			f.resign(first)
			later := f.awaitTerm(next)
			f.wantGuard(first, false)
			f.wantGuard(later, true)
			if c, err := first.Token().Compare(later.Token()); err != nil || c >= 0 {
				f.Errorf("tokens %s, then %s: %v", first.Token(), later.Token(), err)
			}
			if later.Revision() != later.Token().Revision() {
				f.Errorf("token %s of revision %d", later.Token(), later.Revision())
			}
			first = later
		}
		f.resign(first)
		if _, err := e.Leader(f.Context()); !errors.Is(err, ErrNoLeader) {
			f.Errorf("leader of nobody: %v", err)
		}
	})
}

// To resign is no loss, and what comes after the end of a leadership is refused.
func TestElectionResigned(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		e := f.office(f.session)
		l := f.campaign(e, "one")
		if err := l.Proclaim(f.Context(), "two"); err != nil {
			f.Fatal(err)
		}
		proclaimed := l.Header().Revision
		if now, err := e.Leader(f.Context()); err != nil || string(now.KV.Value) != "two" || now.KV.ModRevision != proclaimed {
			f.Errorf("proclaimed at %d: %v, %v", proclaimed, now, err)
		}
		for range 2 {
			f.resign(l)
		}
		if cause := context.Cause(l.Context()); !errors.Is(cause, ErrUnlocked) || errors.Is(cause, ErrLost) {
			f.Errorf("a leadership that was resigned ended with %v", cause)
		}
		if err := l.Proclaim(f.Context(), "three"); !errors.Is(err, ErrUnlocked) {
			f.Errorf("proclaimed after the end: %v", err)
		}
		if err := l.Verify(f.Context()); !errors.Is(err, ErrUnlocked) {
			f.Errorf("verified after the end: %v", err)
		}
	})
}

// The leader is told, by its context and its next call, and its campaign's siblings are not.
func TestElectionKeyDeletedByAnother(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		e := f.office(f.session)
		l := f.campaign(e, "one")
		next := f.campaignLater(f.Context(), e, "two")
		f.awaitCandidates(2)
		if _, err := f.client.Delete(f.Context(), l.Key()); err != nil {
			f.Fatal(err)
		}
		<-l.Context().Done()
		if cause := context.Cause(l.Context()); !errors.Is(cause, ErrLost) || !errors.Is(cause, ErrKeyDeleted) {
			f.Errorf("ended with %v", cause)
		}
		if err := l.Proclaim(f.Context(), "again"); !errors.Is(err, ErrLost) {
			f.Errorf("proclaimed: %v", err)
		}
		if err := l.Resign(f.Context()); !errors.Is(err, ErrLost) {
			f.Errorf("resigned: %v", err)
		}
		f.wantGuard(f.awaitTerm(next), true)
	})
}

// D3: a candidate whose key goes in the very transaction that makes the way free does not lead.
func TestElectionHasNoPhantomLeader(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		e := f.office(f.session)
		f.campaign(e, "one")
		waiter := f.campaignLater(f.Context(), e, "two")
		f.awaitCandidates(2)
		if _, err := f.client.Delete(f.Context(), f.options.Prefix+"/", clientv3.WithPrefix()); err != nil {
			f.Fatal(err)
		}
		if o := <-waiter; !errors.Is(o.err, ErrLost) || !errors.Is(o.err, ErrKeyDeleted) {
			f.Fatalf("Campaign returned %v, %v", o.leadership, o.err)
		}
	})
}

// The same where the watch of the own key is silent: what decides is the read, not who tells first.
func TestElectionHasNoPhantomLeaderWithoutWatch(t *testing.T) {
	var own atomic.Pointer[string]
	deaf := grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := streamer(ctx, desc, cc, method, opts...)
		return &alteredStream{stream, func(m any, err error) error {
			if resp, ok := m.(*pb.WatchResponse); ok && err == nil && own.Load() != nil {
				resp.Events = slices.DeleteFunc(resp.Events, func(e *clientv3.Event) bool { return strings.HasPrefix(string(e.Kv.Key), *own.Load()) })
			}
			return err
		}}, err
	})
	f := newFixture(t)
	f.campaign(f.office(f.session), "one")
	s := openSession(t, dial(t, startServer(t), deaf), 60)
	key := fmt.Sprintf("%s/%x-", f.options.Prefix, int64(s.Lease()))
	own.Store(&key)
	waiter := f.campaignLater(t.Context(), f.office(s), "two")
	f.awaitCandidates(2)
	if _, err := f.client.Delete(t.Context(), f.options.Prefix+"/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if o := <-waiter; !errors.Is(o.err, ErrKeyDeleted) {
		t.Fatalf("Campaign returned %v, %v", o.leadership, o.err)
	}
}

func TestElectionSessionLost(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		dying, rival := openSession(f, f.client, 60), openSession(f, f.client, 60)
		l := f.campaign(f.office(dying), "one")
		waiter := f.campaignLater(f.Context(), f.office(rival), "two")
		f.awaitCandidates(2)
		next := f.campaignLater(f.Context(), f.office(f.session), "three")
		f.awaitCandidates(3)
		for _, s := range []*Session{rival, dying} {
			if _, err := f.client.Revoke(f.Context(), s.Lease()); err != nil {
				f.Fatal(err)
			}
		}
		<-l.Context().Done()
		if err := l.Valid(); !errors.Is(err, ErrLost) {
			f.Errorf("the leader's validity: %v", err)
		}
		if o := <-waiter; !errors.Is(o.err, ErrLost) {
			f.Errorf("the candidate without a lease: %v, %v", o.leadership, o.err)
		}
		f.wantGuard(f.awaitTerm(next), true)
	})
}

func TestElectionGivenUpLeavesNothing(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		e := f.office(f.session)
		f.campaign(e, "one")
		ctx, cancel := context.WithCancel(f.Context())
		waiter := f.campaignLater(ctx, e, "two")
		f.awaitCandidates(2)
		cancel()
		if o := <-waiter; !errors.Is(o.err, context.Canceled) {
			f.Errorf("given up: %v, %v", o.leadership, o.err)
		}
		f.awaitCandidates(1)
	})
}

func TestElectionObserve(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		e := f.office(f.session)
		next, stop := iter.Pull2(e.Observe(f.Context()))
		defer stop()
		want := func(value string) {
			f.Helper()
			now, err, ok := next()
			if err != nil || !ok {
				f.Fatalf("observed %v, %v; want %q", now.KV, err, value)
			}
			if got := now.KV.GetValue(); now.KV == nil != (value == "") || string(got) != value {
				f.Fatalf("observed %v, want %q", now.KV, value)
			}
		}
		want("")
		l := f.campaign(e, "one")
		want("one")
		if err := l.Proclaim(f.Context(), "two"); err != nil {
			f.Fatal(err)
		}
		want("two")
		later := f.campaignLater(f.Context(), e, "three")
		f.awaitCandidates(2)
		f.resign(l)
		want("three")
		f.resign(f.awaitTerm(later))
		want("")
	})
}

func TestElectionObserverEndsWithItsContext(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	for now, err := range f.office(f.session).Observe(ctx) {
		switch seen++; {
		case seen == 1 && (err != nil || now.KV != nil):
			t.Fatalf("observed %v, %v", now, err)
		case seen == 2 && !errors.Is(err, context.Canceled) || seen > 2:
			t.Fatalf("the observer ended %d times, with %v", seen-1, err)
		}
		cancel()
	}
	if seen != 2 {
		t.Errorf("yielded %d times", seen)
	}
}

// Nor does a compaction of what it has not seen yet.
func TestElectionObserverSurvivesBrokenConnections(t *testing.T) {
	f := newFixture(t)
	proxy := newProxy(t, startServer(t))
	observer := openSession(t, dial(t, proxy.endpoint()), 60)
	next, stop := iter.Pull2(f.office(observer).Observe(t.Context()))
	defer stop()
	e := f.office(f.session)
	l := f.campaign(e, "0")
	for _, value := range []string{"1", "2", "3"} {
		proxy.reset()
		if err := l.Proclaim(t.Context(), value); err != nil {
			t.Fatal(err)
		}
		compacted := l.Header().Revision
		if _, err := f.client.Compact(t.Context(), compacted); err != nil {
			t.Fatal(err)
		}
		for seen := ""; seen != value; {
			now, err, _ := next()
			if err != nil {
				t.Fatal(err)
			}
			seen = string(now.KV.GetValue())
		}
	}
}

// Ten candidates of five sessions lead some terms each, some give up before they are elected: the store's history says
// that whoever believed to lead was alone, and that tokens rose.
func TestElectionHistory(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		office, register := f.options.Prefix+"/office", f.options.Prefix+"/register"
		stop := f.record(f.options.Prefix)
		var running sync.WaitGroup
		for range 5 {
			s := openSession(f, f.client, 60)
			for candidate := range 2 {
				running.Go(func() {
					for n := range 5 {
						if err := f.leadOnce(NewElection(s, office, &ElectionOptions{EtcdLayout: true}), register, (candidate+n)%3 == 0); err != nil {
							f.Error(err)
						}
					}
				})
			}
		}
		running.Wait()
		events := stop()
		for _, wrong := range (history.Lock{Queue: office + "/", Visits: register}).Check(events) {
			f.Error(wrong)
		}
		if len(events) < 4*30 {
			f.Errorf("a history of %d events", len(events))
		}
	})
}

// leadOnce leads for one visit of the register. One who is impatient gives up if somebody else leads.
func (f *fixture) leadOnce(e *Election, register string, impatient bool) error {
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	later := f.campaignLater(ctx, e, "me")
	if impatient {
		if _, err := e.Leader(f.Context()); err == nil {
			cancel()
		}
	}
	o := <-later
	switch {
	case errors.Is(o.err, context.Canceled):
		return nil
	case o.err != nil:
		return o.err
	}
	if err := f.visit(o.leadership.hold, register); err != nil {
		return err
	}
	return o.leadership.Resign(f.Context())
}

// The keys are those of etcd's library: it and this package see the same leader and exclude each other.
func TestElectionWithEtcdsLibrary(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		session, err := concurrency.NewSession(f.client)
		if err != nil {
			f.Fatal(err)
		}
		defer session.Close()
		theirs := concurrency.NewElection(session, f.options.Prefix)
		if err := theirs.Campaign(f.Context(), "theirs"); err != nil {
			f.Fatal(err)
		}
		e := f.office(f.session)
		ours := f.campaignLater(f.Context(), e, "ours")
		f.awaitCandidates(2)
		if now, err := e.Leader(f.Context()); err != nil || string(now.KV.Value) != "theirs" {
			f.Errorf("leader: %v, %v", now, err)
		}
		if err := theirs.Resign(f.Context()); err != nil {
			f.Fatal(err)
		}
		l := f.awaitTerm(ours)
		if now, err := theirs.Leader(f.Context()); err != nil || string(now.Kvs[0].Key) != l.Key() {
			f.Errorf("leader by etcd's library: %v, %v", now, err)
		}
	})
}

func TestMutexWithEtcdsLibrary(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		session, err := concurrency.NewSession(f.client)
		if err != nil {
			f.Fatal(err)
		}
		defer session.Close()
		theirs := concurrency.NewMutex(session, f.options.Prefix)
		m := f.etcdMutex(f.session)
		holder := f.lock(m)
		if err := theirs.TryLock(f.Context()); err != concurrency.ErrLocked {
			f.Fatalf("their TryLock: %v", err)
		}
		if _, err := m.TryLock(f.Context()); !errors.Is(err, ErrLocked) {
			f.Fatalf("TryLock beside a holder of the same session: %v", err)
		}
		f.unlock(holder)
		if err := theirs.Lock(f.Context()); err != nil {
			f.Fatal(err)
		}
		if _, err := m.TryLock(f.Context()); !errors.Is(err, ErrLocked) {
			f.Fatalf("our TryLock: %v", err)
		}
		ours := f.lockLater(f.Context(), m)
		f.awaitCandidates(2)
		if err := theirs.Unlock(f.Context()); err != nil {
			f.Fatal(err)
		}
		if o := <-ours; o.err != nil {
			f.Fatal(o.err)
		}
	})
}

// An enqueue that arrives after its candidate was given up, and there is no room for a mark, is removed by the janitor.
func TestEtcdLayoutDelayedEnqueueDoesNotStay(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	s := openSession(t, f.client, 3)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var delayed func(context.Context) error
	faults.set(func(c context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		if delayed == nil && len(req.Success) > 1 {
			delayed = send
			cancel()
			return lostReply()
		}
		return send(c)
	})
	if _, err := f.office(s).Campaign(ctx, "one"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	f.awaitCandidates(0)
	if err := delayed(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.awaitCandidates(0)
	if err := s.Valid(); err != nil {
		t.Errorf("what removed it was the end of the session: %v", err)
	}
}

// A session attached to a lease joins what the lease has, leaves it alone when it gives up, and never ends the lease.
func TestAttachedSessionHasOnePlace(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		attached := AttachSession(f.Context(), f.client, f.session.Lease())
		first := f.lock(f.etcdMutex(attached))
		if !strings.HasPrefix(first.Key(), f.options.Prefix+"/") || strings.Contains(first.Key(), "-") {
			f.Errorf("key %s", first.Key())
		}
		if second := f.lock(f.etcdMutex(attached)); second.Key() != first.Key() || second.Token() != first.Token() {
			f.Errorf("%s, then %s", first.Token(), second.Token())
		}
		l := f.campaign(f.office(attached), "me")
		if resumed := f.office(attached).Resume(l.Key(), l.Revision()); resumed.Proclaim(f.Context(), "still me") != nil {
			f.Error("a leadership was not resumed")
		}
		if now, err := f.office(attached).Leader(f.Context()); err != nil || string(now.KV.Value) != "still me" {
			f.Errorf("leader: %v, %v", now, err)
		}
		if err := f.office(attached).Resume(l.Key(), l.Revision()+1).Proclaim(f.Context(), "x"); !errors.Is(err, ErrLost) {
			f.Errorf("proclaimed with another revision: %v", err)
		}
		if err := attached.Close(); err != nil {
			f.Error(err)
		}
		if err := f.session.Valid(); err != nil {
			f.Errorf("the lease ended: %v", err)
		}
		f.awaitCandidates(1)
	})
}
