package recipes

import (
	"strings"
	"sync"
	"testing"

	"github.com/coordd/coordd/e2e/history"
)

// record starts recording below prefix; the function returned stops at the store's revision of that moment.
func (f *fixture) record(prefix string) (stop func() []history.Event) {
	f.Helper()
	r, err := history.Record(f.Context(), f.client, prefix)
	if err != nil {
		f.Fatal(err)
	}
	return func() []history.Event {
		defer r.Stop()
		last, err := f.client.Put(f.Context(), prefix+"/end", "")
		if err != nil {
			f.Fatal(err)
		}
		events, err := r.Until(last.Header.Revision)
		if err != nil {
			f.Fatal(err)
		}
		return events
	}
}

// visit enters and leaves the register while it holds h, unguarded: the history shows what holders did.
func (f *fixture) visit(h *Hold, register string) error {
	for _, action := range []string{"enter", "leave"} {
		if _, err := f.client.Put(f.Context(), register, action+" "+h.Key()); err != nil {
			return err
		}
	}
	return nil
}

func TestFIFOOfTenContenders(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	register := m.path + "/register"
	stop := f.record(m.path)
	holder := f.lock(m)
	const contenders = 10
	outcomes := make([]<-chan outcome, contenders)
	for i := range outcomes {
		outcomes[i] = f.lockLater(t.Context(), m)
		f.awaitQueue(m, i+2)
	}
	if err := f.visit(holder, register); err != nil {
		t.Fatal(err)
	}
	f.unlock(holder)
	for i := range outcomes {
		o := <-outcomes[i]
		if o.err != nil {
			t.Fatal(o.err)
		}
		if err := f.visit(o.hold, register); err != nil {
			t.Fatal(err)
		}
		f.unlock(o.hold)
	}
	for _, wrong := range (history.Lock{Queue: m.path + queueDir, Visits: register}).Check(stop()) {
		t.Error(wrong)
	}
}

// Many goroutines of several sessions, with replies of enqueues and of removals lost on the way.
func TestMutualExclusionStress(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m := f.mutex(f.session, "one")
	register := m.path + "/register"
	stop := f.record(m.path)
	faults.set(everyNthReplyLost(7))
	const sessions, goroutines, rounds = 3, 4, 8
	var wg sync.WaitGroup
	for range sessions {
		m := f.mutex(openSession(t, f.client, 60), "one")
		for range goroutines {
			wg.Go(func() {
				for range rounds {
					h, err := m.Lock(t.Context())
					if err == nil {
						err = f.visit(h, register)
					}
					if err == nil {
						err = h.Unlock(t.Context())
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	events := stop()
	for _, wrong := range (history.Lock{Queue: m.path + queueDir, Visits: register}).Check(events) {
		t.Error(wrong)
	}
	visits := 0
	for _, ev := range events {
		if strings.HasPrefix(ev.Value, "enter ") {
			visits++
		}
	}
	if want := sessions * goroutines * rounds; visits != want {
		t.Errorf("%d visits recorded, want %d", visits, want)
	}
}
