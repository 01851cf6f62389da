package recipes

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A history is what the store did below one prefix: the queue of one lock, and the register that its holders write.
// Holders enter by putting "enter <key>" and leave by putting "leave <key>", unguarded: the history shows what they did.
type history []*clientv3.Event

// check replays h and returns every violation of mutual exclusion, of the rise of tokens and of first come, first served.
func (h history) check(queuePrefix, register string) (violations []string) {
	var queue []string // live entries, oldest first
	var inside string
	var newest int64
	created := map[string]int64{}
	complain := func(ev *clientv3.Event, format string, args ...any) {
		violations = append(violations, fmt.Sprintf("revision %d: ", ev.Kv.ModRevision)+fmt.Sprintf(format, args...))
	}
	for _, ev := range h {
		key := string(ev.Kv.Key)
		switch {
		case strings.HasPrefix(key, queuePrefix) && ev.Type == clientv3.EventTypeDelete:
			for i, k := range queue {
				if k == key {
					queue = append(queue[:i:i], queue[i+1:]...)
					break
				}
			}
		case strings.HasPrefix(key, queuePrefix) && ev.IsCreate():
			queue = append(queue, key)
			created[key] = ev.Kv.CreateRevision
		case key == register:
			action, who, _ := strings.Cut(string(ev.Kv.Value), " ")
			if len(queue) == 0 || queue[0] != who {
				complain(ev, "%s by %s, which is not first of %v", action, who, queue)
			}
			switch {
			case action == "enter" && inside != "":
				complain(ev, "%s enters beside %s", who, inside)
			case action == "enter" && created[who] <= newest:
				complain(ev, "token %d after %d", created[who], newest)
			case action == "leave" && inside != who:
				complain(ev, "%s leaves, inside is %q", who, inside)
			}
			if inside = ""; action == "enter" {
				inside, newest = who, created[who]
			}
		}
	}
	if len(queue) != 0 {
		violations = append(violations, fmt.Sprintf("orphans: %v", queue))
	}
	return violations
}

// record starts recording below prefix; the function returned stops at the store's revision of that moment.
func (f *fixture) record(prefix string) (stop func() history) {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Context())
	watch := f.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-watch
	return func() history {
		defer cancel()
		last, err := f.client.Put(f.Context(), prefix+"/end", "")
		if err != nil {
			f.Fatal(err)
		}
		var h history
		for resp := range watch {
			h = append(h, resp.Events...)
			if resp.Header.Revision >= last.Header.Revision {
				return h
			}
		}
		f.Fatal("the recording broke")
		return nil
	}
}

// visit enters and leaves the register while it holds h.
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
	for _, v := range stop().check(m.path+queueDir, register) {
		t.Error(v)
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
	h := stop()
	for _, v := range h.check(m.path+queueDir, register) {
		t.Error(v)
	}
	visits := 0
	for _, ev := range h {
		if strings.HasPrefix(string(ev.Kv.Value), "enter ") {
			visits++
		}
	}
	if want := sessions * goroutines * rounds; visits != want {
		t.Errorf("%d visits recorded, want %d", visits, want)
	}
}

func TestHistoryCheckerComplains(t *testing.T) {
	put := func(revision int64, key, value string, create int64) *clientv3.Event {
		ev := &clientv3.Event{Type: clientv3.EventTypePut, Kv: newKeyValue(key, value)}
		ev.Kv.ModRevision, ev.Kv.CreateRevision = revision, create
		return ev
	}
	del := func(revision int64, key string) *clientv3.Event {
		ev := &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: newKeyValue(key, "")}
		ev.Kv.ModRevision = revision
		return ev
	}
	for what, c := range map[string]struct {
		history history
		want    string
	}{
		"in order": {history{
			put(2, "q/a", "", 2), put(3, "q/b", "", 3), put(4, "r", "enter q/a", 4), put(5, "r", "leave q/a", 4), del(6, "q/a"),
			put(7, "r", "enter q/b", 4), put(8, "r", "leave q/b", 4), del(9, "q/b")}, ""},
		"two inside": {history{
			put(2, "q/a", "", 2), put(3, "q/b", "", 3), put(4, "r", "enter q/a", 4), del(5, "q/a"), put(6, "r", "enter q/b", 4), del(7, "q/b")}, "beside"},
		"out of turn":      {history{put(2, "q/a", "", 2), put(3, "q/b", "", 3), put(4, "r", "enter q/b", 4)}, "not first"},
		"after its end":    {history{put(2, "q/a", "", 2), del(3, "q/a"), put(4, "r", "enter q/a", 4)}, "not first"},
		"the same token":   {history{put(2, "q/a", "", 2), put(3, "r", "enter q/a", 3), put(4, "r", "leave q/a", 3), put(5, "r", "enter q/a", 3)}, "token 2 after 2"},
		"an entry forever": {history{put(2, "q/a", "", 2)}, "orphans"},
	} {
		got := strings.Join(c.history.check("q/", "r"), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: the checker says %q, want %q", what, got, c.want)
		}
	}
}
