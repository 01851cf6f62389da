package slots

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/coordd/coordd/coordd/coorddtest"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// change is one change of a holder's key, as the store's history has it.
type change struct {
	revision int64
	id       string
	held     bool
}

// overfull returns the first revision after which more than max machines hold a
// slot, 0 if there is none, and how many grants there were.
func overfull(history []change, max int) (revision int64, grants int) {
	holders := map[string]bool{}
	for _, c := range history {
		if !c.held {
			delete(holders, c.id)
			continue
		}
		if !holders[c.id] {
			grants++
		}
		holders[c.id] = true
		if len(holders) > max {
			return c.revision, grants
		}
	}
	return 0, grants
}

func TestOverfullComplains(t *testing.T) {
	history := []change{{2, "a", true}, {3, "b", true}, {4, "a", false}, {5, "c", true}, {6, "d", true}, {7, "d", false}}
	if revision, _ := overfull(history, 2); revision != 6 {
		t.Errorf("found revision %d, want 6", revision)
	}
	if revision, grants := overfull(history, 3); revision != 0 || grants != 4 {
		t.Errorf("found revision %d after %d grants, want none after 4", revision, grants)
	}
}

// TestStress lets many machines take and give back slots at once, through
// clients of their own, and judges by the store's whole history.
func TestStress(t *testing.T) {
	const (
		machines = 12
		rounds   = 6
		limit    = 3
	)
	endpoint := coorddtest.Start(t)
	client := newClient(t, endpoint)
	g := newGroup(t, client, "stress")
	if _, err := g.SetMax(t.Context(), limit); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range machines {
		own := newGroup(t, newClient(t, endpoint), "stress")
		wg.Go(func() {
			for range rounds {
				if err := takeAndRelease(t, own, fmt.Sprint("machine-", i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	history := historyOf(t, client, g)
	revision, grants := overfull(history, limit)
	if revision != 0 {
		t.Errorf("more than %d hold a slot at revision %d", limit, revision)
	}
	if grants != machines*rounds {
		t.Errorf("%d grants, want %d", grants, machines*rounds)
	}
	if s, err := g.State(t.Context()); err != nil || len(s.Holders) != 0 {
		t.Errorf("at the end: %+v, %v", s, err)
	}
}

// takeAndRelease waits for a slot the way an agent does.
func takeAndRelease(t *testing.T, g *Group, id string) error {
	for _, err := range g.Watch(t.Context()) {
		if err != nil {
			return err
		}
		s, err := g.Acquire(t.Context(), Record{ID: id, BootID: "boot-1"})
		if errors.Is(err, ErrFull) {
			continue
		}
		if err != nil {
			return err
		}
		return errors.Join(s.SetPhase(t.Context(), Rebooting, "boot-1", ""), s.Release(t.Context()))
	}
	return errors.New("the watch has ended")
}

// historyOf reads every change of the group's holders up to the present.
func historyOf(t *testing.T, client *clientv3.Client, g *Group) (history []change) {
	t.Helper()
	end, err := client.Put(t.Context(), g.HoldersPrefix()+"~", "the end")
	if err != nil {
		t.Fatal(err)
	}
	for resp := range client.Watch(t.Context(), g.HoldersPrefix(), clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := resp.Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.Events {
			if e.Kv.ModRevision == end.Header.Revision {
				if _, err := client.Delete(t.Context(), g.HoldersPrefix()+"~"); err != nil {
					t.Fatal(err)
				}
				return history
			}
			id := strings.TrimPrefix(string(e.Kv.Key), g.HoldersPrefix())
			history = append(history, change{e.Kv.ModRevision, id, e.Type == clientv3.EventTypePut})
		}
	}
	t.Fatal("the history has no end")
	return nil
}
