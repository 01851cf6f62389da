package recipes

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestEvict: whoever is evicted learns it, and the next has its turn.
func TestEvict(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		ctx := f.Context()
		victim := openSession(f.T, f.client, 60)
		rw, s := NewRWMutex(victim, "one", f.options), f.semaphore(victim, 1)
		for what, c := range map[string]struct {
			hold   *Hold
			next   func(context.Context) (*Hold, error)
			places func(context.Context) ([]Place, error)
		}{
			"lock":      {f.must(rw.Lock(ctx)), f.mutex(f.session, "one").Lock, rw.Places},
			"semaphore": {f.must(s.Acquire(ctx, 1)), acquire(f.semaphore(f.session, 1), 1), s.Places},
		} {
			next := f.later(c.next)
			places, err := c.places(ctx)
			if err != nil || places[0].State != Holding {
				f.Fatalf("%s: %+v, %v", what, places, err)
			}
			if err := Evict(ctx, f.client, places[0]); err != nil {
				f.Fatalf("%s: %v", what, err)
			}
			<-c.hold.Context().Done()
			if err := context.Cause(c.hold.Context()); !errors.Is(err, ErrLost) || !errors.Is(err, ErrKeyDeleted) {
				f.Errorf("%s: the evicted was told %v", what, err)
			}
			hold := f.await(next)
			if err := Evict(ctx, f.client, places[0]); !errors.Is(err, ErrKeyDeleted) {
				f.Errorf("%s: evicted again: %v", what, err)
			}
			if err := hold.Verify(ctx); err != nil {
				f.Errorf("%s: the next lost it: %v", what, err)
			}
			f.unlock(hold)
			if places, err = c.places(ctx); err != nil || len(places) != 0 {
				f.Errorf("%s: left are %+v, %v", what, places, err)
			}
		}
		if err := victim.Valid(); err != nil {
			f.Errorf("the session of the evicted: %v", err)
		}
	})
}

// TestEvictWhoWaits: the place in the queue is gone, for the one who waits too.
func TestEvictWhoWaits(t *testing.T) {
	f := newFixture(t)
	s := f.semaphore(f.session, 1)
	hold := f.must(s.Acquire(t.Context(), 1))
	result := make(chan error, 1)
	go func() {
		_, err := s.Acquire(t.Context(), 1)
		result <- err
	}()
	f.awaitWaiting(s, 1)
	places, err := s.Places(t.Context())
	f.wantPlaces(places, err, "holding 1, waiting 1")
	if err := Evict(t.Context(), f.client, places[1]); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, ErrKeyDeleted) {
		t.Errorf("it was told %v", err)
	}
	f.unlock(hold)
}

// TestEvictDelayed: what a lock delay keeps from others they get at once.
func TestEvictDelayed(t *testing.T) {
	f := newFixture(t)
	gone, err := NewSession(t.Context(), f.client, &SessionOptions{TTLSeconds: 60, LockDelay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, take := range []func(context.Context) (*Hold, error){
		NewRWMutex(gone, "one", f.options).Lock, acquire(f.semaphore(gone, 1), 1),
	} {
		f.must(take(t.Context()))
	}
	if _, err := f.client.Revoke(t.Context(), gone.Lease()); err != nil { // as if it had crashed
		t.Fatal(err)
	}
	m, s := f.mutex(f.session, "one"), f.semaphore(f.session, 1)
	for _, c := range []struct {
		places func(context.Context) ([]Place, error)
		want   string
		take   func(context.Context) (*Hold, error)
	}{
		{m.Places, "delayed", m.TryLock},
		{s.Places, "delayed 1", func(ctx context.Context) (*Hold, error) { return s.TryAcquire(ctx, 1) }},
	} {
		places, err := c.places(t.Context())
		f.wantPlaces(places, err, c.want)
		if err := Evict(t.Context(), f.client, places[0]); err != nil {
			t.Fatal(err)
		}
		f.unlock(f.must(c.take(t.Context())))
	}
	gone.Close()
}

// TestEvictKeys: what is no place's key is left alone.
func TestEvictKeys(t *testing.T) {
	f := newFixture(t)
	for _, key := range []string{"", "/coordd/epoch", f.options.Prefix + "/one/limit", newAttemptID(), "/x/" + newAttemptID()} {
		if err := Evict(t.Context(), f.client, Place{Key: key}); err == nil || errors.Is(err, ErrKeyDeleted) {
			t.Errorf("%q: %v", key, err)
		}
	}
}
