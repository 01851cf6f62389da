package recipes

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestSemaphoreGrantsNoMoreThanIsLeft(t *testing.T) {
	f := newFixture(t)
	s := f.semaphore(f.session, 3)
	h := f.must(s.Acquire(t.Context(), 2))
	if _, err := s.TryAcquire(t.Context(), 2); !errors.Is(err, ErrLocked) {
		t.Errorf("two, with two of three held: %v", err)
	}
	f.unlock(f.must(s.TryAcquire(t.Context(), 1)))
	f.unlock(h)
}

func TestSemaphoreGrantsNobodyOutOfTurn(t *testing.T) {
	f := newFixture(t)
	s := f.semaphore(f.session, 2)
	h := f.must(s.Acquire(t.Context(), 1))
	large := f.later(acquire(s, 2))
	f.awaitWaiting(s, 1)
	if _, err := s.TryAcquire(t.Context(), 1); !errors.Is(err, ErrLocked) {
		t.Fatalf("one is free, for which another waits: %v", err)
	}
	f.unlock(h)
	f.unlock(f.await(large))
}

// isGrant tells the transactions that put a holder's key.
func isGrant(req *pb.TxnRequest) bool {
	for _, op := range req.Success {
		if strings.Contains(string(op.GetRequestPut().GetKey()), holdersDir) {
			return true
		}
	}
	return false
}

// Between the reading that a grant rests on and the grant something else happens: the grant is not made.
func TestSemaphoreGrantRestsOnWhatIs(t *testing.T) {
	for what, happens := range map[string]func(f *fixture, s *Semaphore) error{
		"another grant": func(f *fixture, s *Semaphore) error {
			_, err := s.Acquire(f.Context(), 1)
			return err
		},
		"a lower limit": func(f *fixture, s *Semaphore) error { return s.SetLimit(f.Context(), 0) },
	} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t)
			other := f.semaphore(f.session, 1)
			if err := other.SetLimit(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			var faults faults
			s := f.semaphore(openSession(t, dial(t, startServer(t), faults.option()), 60), 1)
			faults.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
				if !isGrant(req) {
					return send(ctx)
				}
				faults.set(nil)
				if err := happens(f, other); err != nil {
					return err
				}
				return send(ctx)
			})
			_, err := s.TryAcquire(t.Context(), 1)
			if !errors.Is(err, ErrLocked) && !errors.Is(err, ErrWeightExceedsLimit) {
				t.Errorf("granted: %v", err)
			}
		})
	}
}

// Nor is it in an election when another one was elected meanwhile.
func TestElectionGrantRestsOnWhatIs(t *testing.T) {
	f := newFixture(t)
	options := &ElectionOptions{Prefix: f.options.Prefix}
	var faults faults
	e := NewElection(openSession(t, dial(t, startServer(t), faults.option()), 60), "one", options)
	other := NewElection(f.session, "one", options)
	leaders := make(chan int64, 1)
	faults.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		if !isGrant(req) {
			return send(ctx)
		}
		faults.set(nil)
		if _, err := other.Campaign(ctx, ""); err != nil {
			return err
		}
		err := send(ctx)
		all, counting := f.client.Get(ctx, other.leaders, clientv3.WithPrefix())
		if counting == nil {
			leaders <- countHolders(all)
		}
		return errors.Join(err, counting)
	})
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	done := f.campaignLater(ctx, e, "")
	if n := <-leaders; n != 1 {
		t.Errorf("%d lead", n)
	}
	giveUp()
	<-done
}

// countHolders counts the keys of holders, without what stands below them.
func countHolders(resp *clientv3.GetResponse) (n int64) {
	for _, kv := range resp.Kvs {
		if !strings.HasSuffix(string(kv.Key), aboutSuffix) {
			n++
		}
	}
	return n
}

// A slot whose holder's session has ended is taken as long as the lock delay lasts.
func TestSlotsAreDelayed(t *testing.T) {
	f := newFixture(t)
	s, err := NewSession(t.Context(), f.client, &SessionOptions{TTLSeconds: 60, LockDelay: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f.must(f.semaphore(s, 1).Acquire(t.Context(), 1))
	for i, lease := range []clientv3.LeaseID{s.lease, s.delayLease} {
		if _, err := f.client.Revoke(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
		if _, err := f.semaphore(f.session, 1).TryAcquire(t.Context(), 1); (i == 0) != errors.Is(err, ErrLocked) {
			t.Fatalf("TryAcquire after the end of lease %d: %v", i, err)
		}
	}
}

// Somebody deletes the whole queue in one transaction: that the one ahead has gone is no turn for who has gone with it.
func TestWaiterDeletedWithTheHolderHasLost(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		m := f.mutex(f.session, "one")
		f.lock(m)
		later := f.lockLater(f.Context(), f.mutex(openSession(f.T, f.client, 60), "one"))
		f.awaitQueue(m, 2)
		if _, err := f.client.Delete(f.Context(), m.path+queueDir, clientv3.WithPrefix()); err != nil {
			f.Fatal(err)
		}
		if o := <-later; !errors.Is(o.err, ErrKeyDeleted) {
			f.Fatalf("who was deleted got %v, %v", o.hold, o.err)
		}
	})
}

// The only one ahead goes: the watch that tells so tells also that the waiter's own key is there, and nothing is read.
func TestHandoffToTheOnlyWaiterReadsNothing(t *testing.T) {
	var reads atomic.Int32
	var faults faults
	f := newFixture(t, faults.option())
	away := newFixture(t)
	away.options = f.options
	m := f.mutex(f.session, "one")
	holder := away.lock(away.mutex(away.session, "one"))
	e := m.exclusive()
	ahead, err := e.enqueue(t.Context(), false)
	if err != nil || ahead.line != 1 {
		t.Fatalf("ahead is %v, %v", ahead, err)
	}
	faults.set(func(ctx context.Context, _ *pb.TxnRequest, send func(context.Context) error) error {
		reads.Add(1)
		return send(ctx)
	})
	done := make(chan error, 1)
	go func() { done <- e.wait(t.Context(), ahead) }()
	away.unlock(holder)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// One read, if the release came before the watch began.
	if n := reads.Load(); n > 1 {
		t.Errorf("%d reads", n)
	}
	faults.set(nil)
	e.abandon()
}
