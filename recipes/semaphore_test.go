package recipes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func (f *fixture) semaphore(s *Session, limit int64) *Semaphore {
	return NewSemaphore(s, "one", &SemaphoreOptions{Prefix: f.semaphores(), Limit: limit})
}

// semaphores is the prefix of semaphores: those of locks are other names.
func (f *fixture) semaphores() string { return f.options.Prefix + "-semaphores" }

func acquire(s *Semaphore, weight int64) func(context.Context) (*Hold, error) {
	return func(ctx context.Context) (*Hold, error) { return s.Acquire(ctx, weight) }
}

// awaitWaiting returns once n wait for the semaphore.
func (f *fixture) awaitWaiting(s *Semaphore, n int) {
	f.Helper()
	f.awaitKeys(s.path+queueDir, n)
}

func tokensOf(h *Hold) (texts []string) {
	for token := range h.Tokens() {
		texts = append(texts, token.Fields().Slot)
	}
	return texts
}

func TestSemaphoreAdmitsItsLimitInOrder(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		s, ctx := f.semaphore(f.session, 3), f.Context()
		at := f.revision()
		a, b := f.must(s.Acquire(ctx, 2)), f.must(s.Acquire(ctx, 1))
		if took := f.revision() - at; took != 2 {
			f.Errorf("two acquisitions of what is free took %d commits, want 2", took)
		}
		if got := strings.Join(tokensOf(a), " ") + "; " + strings.Join(tokensOf(b), " "); got != "0 1; 2" {
			f.Errorf("slots %s", got)
		}
		if _, err := s.TryAcquire(ctx, 1); !errors.Is(err, ErrLocked) {
			f.Errorf("TryAcquire of a full semaphore: %v", err)
		}
		large := f.later(acquire(s, 3))
		f.awaitWaiting(s, 1)
		small := f.later(acquire(s, 1))
		f.awaitWaiting(s, 2)
		f.unlock(b)
		f.waits(large)
		f.waits(small) // there is one, but it is not its turn
		f.unlock(a)
		f.unlock(f.await(large))
		h := f.await(small)
		if h.Token().Fields().Slot != "0" || h.Token().Revision() <= a.Token().Revision() {
			f.Errorf("token %s after %s", h.Token(), a.Token())
		}
		f.unlock(h)
		if left := f.countKeys(s.path+holdersDir) + f.countKeys(s.path+queueDir); left != 0 {
			f.Errorf("%d keys of holders and waiters are left", left)
		}
	})
}

func TestSemaphoreLimitChanges(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		s, ctx := f.semaphore(f.session, 1), f.Context()
		a := f.must(s.Acquire(ctx, 1))
		waiting := f.later(acquire(s, 1))
		f.awaitWaiting(s, 1)
		if err := s.SetLimit(ctx, 2); err != nil {
			f.Fatal(err)
		}
		b := f.await(waiting)
		if err := s.SetLimit(ctx, 1); err != nil {
			f.Fatal(err)
		}
		if err := b.Verify(ctx); err != nil {
			f.Errorf("a lower limit revoked: %v", err)
		}
		f.unlock(a)
		if _, err := s.TryAcquire(ctx, 1); !errors.Is(err, ErrLocked) {
			f.Errorf("TryAcquire with one of one held: %v", err)
		}
		if _, err := s.Acquire(ctx, 2); !errors.Is(err, ErrWeightExceedsLimit) {
			f.Errorf("two of one: %v", err)
		}
		large := f.semaphore(f.session, 7)
		if limit, err := large.Limit(ctx); limit != 1 || err != nil {
			f.Errorf("limit %d, %v", limit, err)
		}
		f.unlock(b)
	})
}

func TestLoweredLimitRefusesWhoIsFirst(t *testing.T) {
	f := newFixture(t)
	s := f.semaphore(f.session, 2)
	a := f.must(s.Acquire(t.Context(), 1))
	first := f.later(acquire(s, 2))
	f.awaitWaiting(s, 1)
	second := f.later(acquire(s, 1))
	f.awaitWaiting(s, 2)
	if err := s.SetLimit(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if o := <-first; !errors.Is(o.err, ErrWeightExceedsLimit) {
		t.Fatalf("two of one: %v", o.err)
	}
	f.unlock(a)
	f.unlock(f.await(second))
}

// A crashed holder's slots are free again, and the next holder of the slot has the greater token.
func TestSemaphoreDoesNotLeak(t *testing.T) {
	f := newFixture(t)
	crashing := openSession(t, f.client, 60)
	a := f.must(f.semaphore(crashing, 1).Acquire(t.Context(), 1))
	waiting := f.later(acquire(f.semaphore(f.session, 1), 1))
	f.awaitWaiting(f.semaphore(f.session, 1), 1)
	if _, err := f.client.Revoke(t.Context(), crashing.Lease()); err != nil {
		t.Fatal(err)
	}
	b := f.await(waiting)
	if order, err := a.Token().Compare(b.Token()); err != nil || order >= 0 || a.Token().Fields().Slot != b.Token().Fields().Slot {
		t.Errorf("tokens %s and %s: %d, %v", a.Token(), b.Token(), order, err)
	}
	<-a.Context().Done()
}

func TestSlots(t *testing.T) {
	for _, c := range []struct {
		taken string
		n     int64
		want  string
	}{{"", 3, "0-2"}, {"0-2", 1, "3"}, {"1,3", 3, "0,2,4"}, {"0,5-7", 5, "1-4,8"}, {"2-3", 2, "0-1"}} {
		var taken slots
		if c.taken != "" {
			var err error
			if taken, err = parseSlots(c.taken); err != nil {
				t.Fatal(err)
			}
		}
		got := lowest(taken, c.n)
		if got.String() != c.want || got.count() != c.n {
			t.Errorf("%d beside %q: %s", c.n, c.taken, got)
		}
		if all := union(taken, got); all.count() != taken.count()+c.n {
			t.Errorf("%s and %s overlap", taken, got)
		}
	}
	for _, bad := range []string{"", "-", "1-", "3-1", "-1", "a", "0,,1", fmt.Sprint(maxSlots), "0 "} {
		if s, err := parseSlots(bad); err == nil {
			t.Errorf("%q is read as %s", bad, s)
		}
	}
}
