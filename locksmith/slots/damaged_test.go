package slots

import (
	"errors"
	"testing"

	"github.com/coordd/coordd/coordd/coorddtest"
)

func TestRemoveDamaged(t *testing.T) {
	g := newGroupAlone(t, newClient(t, coorddtest.Start(t)))
	if _, err := g.client.Put(t.Context(), g.holderKey("a"), "no json"); err != nil {
		t.Fatal(err)
	}
	acquireErr := g.WouldGrant(t.Context(), Record{ID: "b"})
	if acquireErr == nil || errors.Is(acquireErr, ErrRefused) {
		t.Fatalf("beside a record that cannot be read: %v, want an error that is no refusal", acquireErr)
	}
	if err := g.RemoveDamaged(t.Context(), "a", "ann", "from a newer version", noon); err != nil {
		t.Fatal(err)
	}
	if err := g.RemoveDamaged(t.Context(), "a", "ann", "", noon); !errors.Is(err, ErrNotHeld) {
		t.Errorf("a second time: %v, want ErrNotHeld", err)
	}
	s := acquire(t, g, "b")
	if err := g.RemoveDamaged(t.Context(), "b", "ann", "", noon); err == nil {
		t.Error("a record that can be read was removed")
	}
	if _, err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func put(t *testing.T, g *Group, key, value string) {
	t.Helper()
	if _, err := g.client.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedStops keeps every machine where it is while what limits it cannot be read.
func TestDamagedStops(t *testing.T) {
	endpoint := coorddtest.Start(t)
	for name, test := range map[string]struct{ key, value string }{
		"holder, no JSON":               {"slots/holders/g/x", "no json"},
		"holder, empty":                 {"slots/holders/g/x", "{}"},
		"holder, null":                  {"slots/holders/g/x", "null"},
		"holder, of another group":      {"slots/holders/g/x", `{"id":"x","group":"other"}`},
		"holder, of another machine":    {"slots/holders/g/x", `{"id":"y","group":"g"}`},
		"holder in another group":       {"slots/holders/other/x", "7"},
		"policy, of a newer version":    {"slots/groups/g/policy", `{"max":9,"per_rack":1}`},
		"policy, with something behind": {"slots/groups/g/policy", `{"max":9} {}`},
		"policy, out of range":          {"slots/groups/g/policy", `{"max":-9}`},
		"standing":                      {"slots/groups/g/standing", "no json"},
		"policy of the cluster":         {"slots/cluster/policy", `{"breaker":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := NewGroup(newClient(t, endpoint), t.Name(), "g")
			if err != nil {
				t.Fatal(err)
			}
			put(t, g, g.prefix+"/"+test.key, test.value)
			_, err = g.Acquire(t.Context(), Record{ID: "a"})
			if d, ok := errors.AsType[*DamagedError](err); !ok || d.Key != g.prefix+"/"+test.key || errors.Is(err, ErrRefused) {
				t.Errorf("acquire: %v, want a DamagedError of %s", err, test.key)
			}
			if _, err := g.SetMax(t.Context(), 7); test.key == "slots/groups/g/policy" && err == nil {
				t.Error("what is not known of the policy was written over")
			}
		})
	}
}

// TestDamagedStopsNobodyElse lets a machine go whatever others have left in the queue.
func TestDamagedStopsNobodyElse(t *testing.T) {
	g := newGroupAlone(t, newClient(t, coorddtest.Start(t)))
	want := Record{ID: "a", Stage: 1}
	put(t, g, g.queueKey(Record{ID: "x"}), "no json")
	put(t, g, g.queueKey(Record{ID: "y"}), "{}")
	put(t, g, g.queueKey(Record{ID: "z", Stage: 1}), "7")
	put(t, g, g.agentKey("x"), "no json")
	enqueue(t, g, want)
	if _, err := g.AcquireInTurn(t.Context(), want, noon); err != nil {
		t.Error(err)
	}
}

// TestSnapshotOfDamage shows all that can be read, and the rest beside it.
func TestSnapshotOfDamage(t *testing.T) {
	g := newGroupAlone(t, newClient(t, coorddtest.Start(t)))
	fleet := NewFleet(g.client, g.prefix)
	acquire(t, g, "a")
	put(t, g, g.agentKey("x"), "no json")
	put(t, g, g.queueKey(Record{ID: "x"}), "no json")
	put(t, g, g.prefix+"/slots/groups/other/policy", `{"per_rack":1}`)
	put(t, g, g.prefix+"/agents/%zz/x", "{}")
	s, err := fleet.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Damaged) != 4 || len(s.Groups[g.Name()].Holders) != 1 || s.Stops(g.Name()) != nil || s.Stops("other") == nil {
		t.Errorf("damaged %v, groups %+v", s.Damaged, s.Groups)
	}
	put(t, g, g.holderKey("b"), "no json")
	if s, err = fleet.Snapshot(t.Context()); err != nil || s.Stops(g.Name()) == nil || s.Stops(g.Name()).ID != "b" {
		t.Errorf("with a damaged holder: %+v, %v", s, err)
	}
}

// TestSnapshotCompacted reads all anew when its revision was compacted away meanwhile.
func TestSnapshotCompacted(t *testing.T) {
	endpoint := coorddtest.Start(t)
	quiet := newGroupAlone(t, newClient(t, endpoint))
	acquire(t, quiet, "a")
	disturbed := newClient(t, endpoint, beforeRange(func() {
		put(t, quiet, quiet.prefix+"/x", "")
		resp, err := quiet.client.Put(t.Context(), quiet.prefix+"/x", "")
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := quiet.client.Compact(t.Context(), resp.Header.Revision); err != nil {
			t.Error(err)
		}
	}))
	s, err := NewFleet(disturbed, quiet.prefix).Snapshot(t.Context())
	if err != nil || len(s.Groups[quiet.Name()].Holders) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}
