package recipes

import (
	"context"
	"errors"
	"strings"
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

// A session that knows another epoch is given nothing: its tokens would be of revisions that come again.
func TestNothingIsGrantedInAnotherEpoch(t *testing.T) {
	f := newFixture(t)
	holder := f.lock(f.mutex(f.session, "held"))
	if _, err := f.client.Put(t.Context(), EpochKey, "1"); err != nil {
		t.Fatal(err)
	}
	defer f.client.Delete(context.Background(), EpochKey)
	if _, err := f.mutex(f.session, "one").Lock(t.Context()); !errors.Is(err, ErrLost) || !errors.Is(err, ErrEpochChanged) {
		t.Fatalf("Lock: %v", err)
	}
	if err := holder.Valid(); !errors.Is(err, ErrEpochChanged) {
		t.Errorf("what was held before: %v", err)
	}
	s := openSession(t, f.client, 60)
	if epoch := f.lock(f.mutex(s, "one")).Token().Fields().Epoch; epoch != 1 {
		t.Errorf("a token of epoch %d", epoch)
	}
}

func (f *fixture) revoke(lease clientv3.LeaseID) {
	f.Helper()
	if _, err := f.client.Revoke(f.Context(), lease); err != nil {
		f.Fatal(err)
	}
}

// With a lock delay the end of a session that gave nothing up frees nothing yet; the end of the delay does.
func TestLockDelay(t *testing.T) {
	for what, kind := range map[string]func(f *fixture, s *Session) (lock, tryLock func(context.Context) (*Hold, error)){
		"mutex": func(f *fixture, s *Session) (lock, tryLock func(context.Context) (*Hold, error)) {
			m := f.mutex(s, "one")
			return m.Lock, m.TryLock
		},
		"semaphore": func(f *fixture, s *Session) (lock, tryLock func(context.Context) (*Hold, error)) {
			m := f.semaphore(s, 1)
			return acquire(m, 1), func(ctx context.Context) (*Hold, error) { return m.TryAcquire(ctx, 1) }
		},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t)
			s, err := NewSession(t.Context(), f.client, &SessionOptions{TTLSeconds: 60, LockDelay: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			delayed, _ := kind(f, s)
			next, tryNext := kind(f, f.session)
			f.unlock(f.must(delayed(t.Context())))
			f.unlock(f.must(tryNext(t.Context()))) // what is given up is free at once
			lost := f.must(delayed(t.Context()))
			f.revoke(s.lease)
			if _, err := tryNext(t.Context()); !errors.Is(err, ErrLocked) {
				t.Fatalf("during the delay: %v", err)
			}
			waiter := f.later(next)
			f.revoke(s.delayLease)
			f.unlock(f.await(waiter))
			<-lost.Context().Done()
		})
	}
}
