package slots

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/coorddtest"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// crowded returns the first rule that the holders of a fleet break together: of
// max machines, perZone of a zone, and one member of the store. "" is none.
func crowded(holders map[string]Record, max, perZone int) string {
	zones, members := map[string]int{}, 0
	for _, r := range holders {
		zones[r.Zone]++
		if r.Member != "" {
			members++
		}
		if zones[r.Zone] > perZone {
			return "zone " + r.Zone
		}
	}
	switch {
	case len(holders) > max:
		return "fleet"
	case members > 1:
		return "members"
	}
	return ""
}

func TestCrowdedComplains(t *testing.T) {
	for want, holders := range map[string]map[string]Record{
		"":        {"a": {Zone: "1"}, "b": {Zone: "2", Member: "m"}},
		"fleet":   {"a": {Zone: "1"}, "b": {Zone: "2"}, "c": {Zone: "3"}},
		"zone 1":  {"a": {Zone: "1"}, "b": {Zone: "1"}},
		"members": {"a": {Zone: "1", Member: "m"}, "b": {Zone: "2", Member: "n"}},
	} {
		if got := crowded(holders, 2, 1); got != want {
			t.Errorf("%v: %q, want %q", holders, got, want)
		}
	}
}

// TestStressRules lets machines of two groups queue for slots under limits of the
// cluster and of zones, and judges by the store's whole history.
func TestStressRules(t *testing.T) {
	const machines, rounds, max, perZone = 12, 4, 3, 1
	endpoint := coorddtest.Start(t)
	client := newClient(t, endpoint)
	fleet := NewFleet(client, "stress")
	if _, _, err := fleet.ChangePolicy(t.Context(), func(p *Policy) { p.Max, p.PerZone = at(max), perZone }); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"g0", "g1"} {
		g, err := fleet.Group(name)
		if err != nil {
			t.Fatal(err)
		}
		setPolicy(t, g, Policy{Max: at(machines)})
	}
	var wg sync.WaitGroup
	for i := range machines {
		own := NewFleet(newClient(t, endpoint), "stress")
		want := Record{ID: fmt.Sprint("machine-", i), Zone: fmt.Sprint(i % 4), Priority: i % 2}
		if i%3 == 0 {
			want.Member = want.ID
		}
		wg.Go(func() {
			g, err := own.Group(fmt.Sprint("g", i%2))
			for range rounds {
				if err == nil {
					err = queueAndRelease(t, g, want)
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if grants := judgeFleet(t, client, max, perZone); grants != machines*rounds {
		t.Errorf("%d grants, want %d", grants, machines*rounds)
	}
}

// queueAndRelease waits for its turn the way an agent does.
func queueAndRelease(t *testing.T, g *Group, want Record) error {
	granted, err := g.client.Grant(t.Context(), 600)
	if err != nil {
		return err
	}
	if err := g.Enqueue(t.Context(), granted.ID, want); err != nil {
		return err
	}
	look := time.NewTicker(20 * time.Millisecond) // the queue is not watched
	defer look.Stop()
	for {
		s, err := g.AcquireInTurn(t.Context(), want, time.Now())
		if err == nil {
			return errors.Join(s.SetPhase(t.Context(), Rebooting, "boot-1", ""), s.Release(t.Context()))
		}
		if !errors.Is(err, ErrRefused) {
			return err
		}
		select {
		case <-look.C:
		case <-t.Context().Done():
			return t.Context().Err()
		}
	}
}

// judgeFleet replays all changes of holders and returns how many grants there were.
func judgeFleet(t *testing.T, client *clientv3.Client, max, perZone int) (grants int) {
	t.Helper()
	prefix := "stress/slots/holders/"
	end, err := client.Put(t.Context(), prefix+"~", "the end")
	if err != nil {
		t.Fatal(err)
	}
	holders := map[string]Record{}
	for resp := range client.Watch(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := resp.Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.Events {
			id := strings.TrimPrefix(string(e.Kv.Key), prefix)
			switch {
			case e.Kv.ModRevision == end.Header.Revision:
				return grants
			case e.Type == clientv3.EventTypeDelete:
				delete(holders, id)
				continue
			case e.IsCreate():
				grants++
			}
			var r Record
			if err := json.Unmarshal(e.Kv.Value, &r); err != nil {
				t.Fatal(err)
			}
			holders[id] = r
			if rule := crowded(holders, max, perZone); rule != "" {
				t.Fatalf("revision %d: too many hold a slot: %s: %v", e.Kv.ModRevision, rule, holders)
			}
		}
	}
	t.Fatal("the history has no end")
	return 0
}
