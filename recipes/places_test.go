package recipes

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// outline is what places are, in a line.
func outline(places []Place) string {
	var parts []string
	for _, p := range places {
		part := string(p.State)
		if p.Shared {
			part += " to read"
		}
		if p.Holder.Weight > 0 {
			part += fmt.Sprintf(" %d", p.Holder.Weight)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

func (f *fixture) wantPlaces(places []Place, err error, want string) []Place {
	f.Helper()
	if err != nil || outline(places) != want {
		f.Fatalf("places are %s, %v; want %s", outline(places), err, want)
	}
	return places
}

func TestPlacesOfALock(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		ctx := f.Context()
		rw := NewRWMutex(f.session, "a/b", &MutexOptions{Prefix: f.options.Prefix, Reason: "because"})
		m := f.mutex(f.session, "a/b")
		r1, r2 := f.must(rw.RLock(ctx)), f.must(rw.RLock(ctx))
		w := f.later(rw.Lock)
		f.awaitQueue(m, 4)
		r3 := f.later(rw.RLock)
		f.awaitQueue(m, 5)
		places, err := rw.Places(ctx)
		f.wantPlaces(places, err, "holding to read, holding to read, waiting, waiting to read")
		if p := places[0]; p.Key != r1.Key() || p.Holder.Reason != "because" || p.Holder.PID == 0 || p.Lease != f.session.Lease() {
			f.Errorf("the first place is %+v", p)
		}
		f.unlock(r1)
		f.unlock(r2)
		hold := f.await(w)
		places, err = m.Places(ctx)
		f.wantPlaces(places, err, "holding, waiting to read")
		all, err := List(ctx, f.client, f.options.Prefix)
		if err != nil || len(all) != 1 || all[0].Name != "a/b" || outline(all[0].Places) != outline(places) {
			f.Errorf("listed %+v, %v", all, err)
		}
		f.unlock(hold)
		f.unlock(f.await(r3))
	})
}

func TestPlacesOfASemaphore(t *testing.T) {
	f := newFixture(t)
	s := f.semaphore(f.session, 3)
	a := f.must(s.Acquire(t.Context(), 2))
	waiting := f.later(acquire(s, 3))
	f.awaitWaiting(s, 1)
	places, err := s.Places(t.Context())
	f.wantPlaces(places, err, "holding 2, waiting 3")
	all, err := List(t.Context(), f.client, f.semaphores())
	if err != nil || len(all) != 1 || all[0].Limit == nil || *all[0].Limit != 3 {
		t.Errorf("listed %+v, %v", all, err)
	}
	f.unlock(a)
	f.unlock(f.await(waiting))
}

func TestAskToRelease(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		ctx, m, s := f.Context(), f.mutex(f.session, "one"), f.semaphore(f.session, 1)
		asker := openSession(f.T, f.client, 60)
		for what, c := range map[string]struct {
			hold   *Hold
			places func() ([]Place, error)
		}{
			"mutex":     {f.lock(m), func() ([]Place, error) { return m.Places(ctx) }},
			"semaphore": {f.must(s.Acquire(ctx, 1)), func() ([]Place, error) { return s.Places(ctx) }},
		} {
			places, err := c.places()
			f.wantPlaces(places[:1], err, strings.TrimSuffix("holding "+map[string]string{"semaphore": "1"}[what], " "))
			if err := asker.AskToRelease(ctx, places[0], "I am in a hurry"); err != nil {
				f.Fatal(err)
			}
			<-c.hold.ReleaseAsked()
			if who := c.hold.Asker(); who == nil || who.Reason != "I am in a hurry" {
				f.Errorf("%s: asked by %+v", what, who)
			}
			if err := c.hold.Verify(ctx); err != nil {
				f.Errorf("%s: an ask took it away: %v", what, err)
			}
			if places, err = c.places(); err != nil || places[0].AskedBy == nil {
				f.Errorf("%s: places are %+v, %v", what, places, err)
			}
			f.unlock(c.hold)
			if err := asker.AskToRelease(ctx, places[0], ""); !errors.Is(err, ErrKeyDeleted) {
				f.Errorf("%s: asking who has gone: %v", what, err)
			}
			if places, err = c.places(); err != nil || len(places) != 0 {
				f.Errorf("%s: left are %+v, %v", what, places, err)
			}
		}
	})
}

func TestLockAll(t *testing.T) {
	f := newFixture(t)
	a, b, c := f.mutex(f.session, "a"), f.mutex(f.session, "b"), f.mutex(f.session, "c")
	held, err := LockAll(t.Context(), c, a, b)
	if err != nil || len(held) != 3 || held.Valid() != nil || held.Remaining() <= 0 {
		t.Fatalf("%v, %v", held, err)
	}
	if resp, err := f.client.Txn(t.Context()).If(held.Guards()...).Commit(); err != nil || !resp.Succeeded {
		t.Errorf("the guards do not hold: %v", err)
	}
	if err := held.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := LockAll(t.Context(), a, b, f.mutex(f.session, "a")); err == nil {
		t.Error("a lock twice was taken")
	}
	broken := NewMutex(f.session, "", nil)
	if _, err := LockAll(t.Context(), a, broken); !errors.Is(err, ErrInvalidName) {
		t.Errorf("with one that has no name: %v", err)
	}
	f.unlock(f.must(a.TryLock(t.Context()))) // nothing is left held
}
