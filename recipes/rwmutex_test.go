package recipes

import (
	"context"
	"errors"
	"testing"

	"github.com/coordd/coordd/recipes/fence"
)

func (f *fixture) rw(s *Session, name string) *RWMutex { return NewRWMutex(s, name, f.options) }

// must returns a hold or fails the test.
func (f *fixture) must(h *Hold, err error) *Hold {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
	return h
}

// later acquires beside the test and delivers the outcome.
func (f *fixture) later(acquire func(context.Context) (*Hold, error)) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		h, err := acquire(f.Context())
		done <- outcome{h, err}
	}()
	return done
}

func (f *fixture) await(later <-chan outcome) *Hold {
	f.Helper()
	o := <-later
	return f.must(o.hold, o.err)
}

func (f *fixture) waits(later <-chan outcome) {
	f.Helper()
	select {
	case o := <-later:
		f.Fatalf("it does not wait: %v, %v", o.hold, o.err)
	default:
	}
}

func TestReadersShareAndWritersExclude(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		rw, other := f.rw(f.session, "one"), f.rw(openSession(f.T, f.client, 60), "one")
		ctx := f.Context()
		first, second := f.must(rw.RLock(ctx)), f.must(other.RLock(ctx))
		if _, err := rw.TryLock(ctx); !errors.Is(err, ErrLocked) {
			f.Fatalf("TryLock beside readers: %v", err)
		}
		writer := f.later(rw.Lock)
		f.awaitQueue(f.mutex(f.session, "one"), 4) // a writer has two keys
		if _, err := other.TryRLock(ctx); !errors.Is(err, ErrLocked) {
			f.Fatalf("TryRLock behind a waiting writer: %v", err)
		}
		third := f.later(other.RLock)
		f.awaitQueue(f.mutex(f.session, "one"), 5)
		f.unlock(first)
		f.waits(writer)
		f.unlock(second)
		w := f.await(writer)
		f.waits(third)
		if w.Token().Fields().Mode != fence.Exclusive {
			f.Errorf("the writer's token is %s", w.Token())
		}
		f.unlock(w)
		r := f.await(third)
		if mode := r.Token().Fields().Mode; mode != fence.Shared || r.Token().Revision() <= w.Token().Revision() {
			f.Errorf("the reader's token is %s after %s", r.Token(), w.Token())
		}
		f.unlock(r)
		if left := f.queue(f.mutex(f.session, "one")); len(left) != 0 {
			f.Errorf("left in the queue: %v", left)
		}
	})
}

func TestMutexAndRWMutexOfANameExclude(t *testing.T) {
	f := newFixture(t)
	m, rw := f.mutex(f.session, "one"), f.rw(f.session, "one")
	h := f.lock(m)
	for what, try := range map[string]func(context.Context) (*Hold, error){"TryLock": rw.TryLock, "TryRLock": rw.TryRLock} {
		if _, err := try(t.Context()); !errors.Is(err, ErrLocked) {
			t.Errorf("%s beside the mutex: %v", what, err)
		}
	}
	f.unlock(h)
	r := f.must(rw.RLock(t.Context()))
	if _, err := m.TryLock(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("TryLock of the mutex beside a reader: %v", err)
	}
	f.unlock(r)
}

func TestDowngradeLetsReadersInAndNoWriter(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		rw, ctx := f.rw(f.session, "one"), f.Context()
		w := f.must(rw.Lock(ctx))
		reader, writer := f.later(rw.RLock), (<-chan outcome)(nil)
		f.awaitQueue(f.mutex(f.session, "one"), 3)
		writer = f.later(rw.Lock)
		f.awaitQueue(f.mutex(f.session, "one"), 5)
		at := f.revision()
		r := f.must(rw.Downgrade(ctx, w))
		if took := f.revision() - at; took != 1 {
			f.Errorf("a downgrade took %d commits, want 1", took)
		}
		if !errors.Is(w.Valid(), ErrUnlocked) {
			f.Errorf("the hold to write: %v", w.Valid())
		}
		if got := r.Token(); got.Revision() != w.Token().Revision() || got.Fields().Mode != fence.Shared {
			f.Errorf("token %s after %s", got, w.Token())
		}
		beside := f.await(reader)
		f.waits(writer)
		f.unlock(r)
		f.waits(writer)
		f.unlock(beside)
		f.unlock(f.await(writer))
	})
}

func TestTryUpgrade(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		rw, ctx := f.rw(f.session, "one"), f.Context()
		a, b := f.must(rw.RLock(ctx)), f.must(rw.RLock(ctx))
		if _, err := rw.TryUpgrade(ctx, a); !errors.Is(err, ErrLocked) {
			f.Fatalf("an upgrade beside another reader: %v", err)
		}
		if err := a.Verify(ctx); err != nil {
			f.Fatalf("after a refused upgrade: %v", err)
		}
		f.unlock(b)
		at := f.revision()
		w := f.must(rw.TryUpgrade(ctx, a))
		if took := f.revision() - at; took != 1 {
			f.Errorf("an upgrade took %d commits, want 1", took)
		}
		if w.Token().Revision() <= b.Token().Revision() || w.Token().Fields().Mode != fence.Exclusive {
			f.Errorf("token %s after %s", w.Token(), b.Token())
		}
		if _, err := rw.TryRLock(ctx); !errors.Is(err, ErrLocked) {
			f.Errorf("TryRLock beside the upgraded: %v", err)
		}
		r := f.must(rw.Downgrade(ctx, w))
		if r.Token().Revision() != w.Token().Revision() {
			f.Errorf("token %s after %s", r.Token(), w.Token())
		}
		f.unlock(r)
		if left := f.queue(f.mutex(f.session, "one")); len(left) != 0 {
			f.Errorf("left in the queue: %v", left)
		}
	})
}

// Somebody deletes the writer's key alone: readers come in, and the writer is told.
func TestD4WriterWhoseKeyIsDeletedHasLost(t *testing.T) {
	f := newFixture(t)
	rw := f.rw(f.session, "one")
	w := f.must(rw.Lock(t.Context()))
	if _, err := f.client.Delete(t.Context(), w.Key()); err != nil {
		t.Fatal(err)
	}
	<-w.Context().Done()
	if cause := context.Cause(w.Context()); !errors.Is(cause, ErrKeyDeleted) {
		t.Errorf("the hold ended with %v", cause)
	}
	if err := w.Unlock(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("Unlock: %v", err)
	}
	f.unlock(f.must(rw.TryLock(t.Context())))
}

// Both sessions end: of the writers that wait, none may take that for its turn.
func TestD4DeadSessionsWriterIsNotLetIn(t *testing.T) {
	f := newFixture(t)
	r := f.must(f.rw(f.session, "one").RLock(t.Context()))
	dead := openSession(t, f.client, 60)
	writer := f.later(f.rw(dead, "one").Lock)
	f.awaitQueue(f.mutex(f.session, "one"), 3)
	if _, err := f.client.Revoke(t.Context(), dead.Lease()); err != nil {
		t.Fatal(err)
	}
	f.unlock(r)
	if o := <-writer; !errors.Is(o.err, ErrLost) {
		t.Fatalf("a writer without a session: %v, %v", o.hold, o.err)
	}
}
