package recipes

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestResumedSessionGoesOnWithItsHold(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		ctx := f.Context()
		attempt := newAttemptID()
		options := &MutexOptions{Prefix: f.options.Prefix, Attempt: attempt}
		first := openSession(f.T, f.client, 60)
		before := f.must(NewMutex(first, "one", options).Lock(ctx))
		first.Detach()
		if err := before.Valid(); !errors.Is(err, ErrLost) {
			f.Errorf("the hold that was left: %v", err)
		}
		second, err := ResumeSession(ctx, f.client, first.Lease(), nil)
		if err != nil {
			f.Fatal(err)
		}
		defer second.Close()
		at := f.revision()
		after := f.must(NewMutex(second, "one", options).Lock(ctx))
		if after.Token() != before.Token() || f.revision() != at {
			f.Errorf("token %s after %s", after.Token(), before.Token())
		}
		if _, err := NewMutex(f.session, "one", options).Lock(ctx); !errors.Is(err, ErrAttemptTaken) {
			f.Errorf("another session's attempt: %v", err)
		}
		f.unlock(after)
		f.unlock(f.must(f.mutex(f.session, "one").TryLock(ctx)))
	})
}

func TestResumedSemaphoreAndElection(t *testing.T) {
	f := newFixture(t)
	first := openSession(t, f.client, 60)
	s := func(session *Session, attempt string) *Semaphore {
		return NewSemaphore(session, "one", &SemaphoreOptions{Prefix: f.semaphores(), Limit: 2, Attempt: attempt})
	}
	e := func(session *Session, attempt string) *Election {
		return NewElection(session, "one", &ElectionOptions{Prefix: f.options.Prefix, Attempt: attempt})
	}
	held, waits, leads := newAttemptID(), newAttemptID(), newAttemptID()
	before := f.must(s(first, held).Acquire(t.Context(), 2))
	leader := f.campaign(e(first, leads), "a")
	waiting := f.later(acquire(s(first, waits), 2))
	f.awaitWaiting(s(first, ""), 1)
	first.Detach()
	if o := <-waiting; !errors.Is(o.err, ErrLost) {
		t.Fatalf("waiting in a session that was left: %v", o.err)
	}
	second, err := ResumeSession(t.Context(), f.client, first.Lease(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	after := f.must(s(second, held).Acquire(t.Context(), 2))
	if after.Token() != before.Token() {
		t.Errorf("token %s after %s", after.Token(), before.Token())
	}
	if l := f.campaign(e(second, leads), "b"); l.Token() != leader.Token() {
		t.Errorf("token %s after %s", l.Token(), leader.Token())
	}
	if now, err := e(second, "").Leader(t.Context()); err != nil || string(now.KV.Value) != "b" {
		t.Errorf("%v leads, %v", now.KV, err)
	}
	resumed := f.later(acquire(s(second, waits), 2))
	f.awaitWaiting(s(second, ""), 1)
	f.unlock(after)
	f.unlock(f.await(resumed))
}

func TestResumeOfAnUnknownLease(t *testing.T) {
	f := newFixture(t)
	if _, err := ResumeSession(t.Context(), f.client, 4711, nil); !errors.Is(err, ErrLeaseGone) {
		t.Errorf("resumed: %v", err)
	}
}

// What a session held when it ended without giving it up is kept from others by the lease of the lock delay alone.
func TestLockDelay(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		ctx := f.Context()
		s, err := NewSession(ctx, f.client, &SessionOptions{TTLSeconds: 60, LockDelay: time.Minute})
		if err != nil {
			f.Fatal(err)
		}
		defer s.Close()
		f.unlock(f.lock(f.mutex(s, "one"))) // given up: no delay
		f.unlock(f.must(f.mutex(f.session, "one").TryLock(ctx)))

		held := f.lock(f.mutex(s, "one"))
		slot := f.must(f.semaphore(s, 1).Acquire(ctx, 1))
		if _, err := f.client.Revoke(ctx, s.Lease()); err != nil {
			f.Fatal(err)
		}
		<-held.Context().Done()
		<-slot.Context().Done()
		if _, err := f.mutex(f.session, "one").TryLock(ctx); !errors.Is(err, ErrLocked) {
			f.Errorf("TryLock within the delay: %v", err)
		}
		places, err := f.mutex(f.session, "one").Places(ctx)
		f.wantPlaces(places, err, "delayed")
		waiting := f.lockLater(ctx, f.mutex(f.session, "one"))
		waitingSlot := f.later(acquire(f.semaphore(f.session, 1), 1))
		f.awaitQueue(f.mutex(f.session, "one"), 2)
		f.waits(waiting)
		f.waits(waitingSlot)
		if _, err := f.client.Revoke(ctx, s.delayLease); err != nil {
			f.Fatal(err)
		}
		f.unlock(f.await(waiting))
		f.unlock(f.await(waitingSlot))
	})
}

// After the epoch changed, an acquisition ends the session and leaves nothing: its token would go backwards.
func TestChangedEpochEndsSessions(t *testing.T) {
	f := newOwnStoreFixture(t)
	hold := f.lock(f.mutex(f.session, "one"))
	if epoch := hold.Token().Fields().Epoch; epoch != 0 {
		t.Errorf("epoch %d without one in the store", epoch)
	}
	f.unlock(hold)
	if _, err := f.client.Put(t.Context(), EpochKey, "7"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.mutex(f.session, "one").Lock(t.Context()); !errors.Is(err, ErrEpochChanged) {
		t.Fatalf("locked in another epoch: %v", err)
	}
	later := openSession(t, f.client, 60)
	hold = f.lock(f.mutex(later, "one"))
	if epoch := hold.Token().Fields().Epoch; epoch != 7 {
		t.Errorf("epoch %d", epoch)
	}
	if _, err := f.client.Put(t.Context(), EpochKey, "x"); err != nil {
		t.Fatal(err)
	}
	if s, err := NewSession(t.Context(), f.client, nil); err == nil {
		s.Close()
		t.Error("a session in no epoch")
	}
}

func TestRunBeginsAgainAfterALostSession(t *testing.T) {
	f := newFixture(t)
	var leases []int64
	err := Run(t.Context(), f.client, nil, func(ctx context.Context, s *Session) error {
		if leases = append(leases, int64(s.Lease())); len(leases) == 3 {
			return nil
		}
		if _, err := f.client.Revoke(ctx, s.Lease()); err != nil {
			return err
		}
		_, err := f.mutex(s, "one").Lock(ctx)
		return err
	})
	if err != nil || len(leases) != 3 {
		t.Errorf("sessions %v, %v", leases, err)
	}
	if err := Run(t.Context(), f.client, &SessionOptions{TTLSeconds: -1}, nil); err == nil {
		t.Error("ran with a negative TTL")
	}
}
