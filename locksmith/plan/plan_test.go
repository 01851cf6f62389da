package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/locksmith/slots"
)

var noon = time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)

func at(n int) *int { return &n }

func TestOf(t *testing.T) {
	s := &slots.Snapshot{Groups: map[string]*slots.GroupView{
		"web": {
			Holders: []slots.Record{{ID: "h", Group: "web", Phase: slots.Verifying, Failed: "nginx.service is failed", TakenBy: slots.TakenByAgent, Reason: "a new kernel"}},
			Queue:   []slots.Record{{ID: "q1", Group: "web", Hostname: "queen"}, {ID: "q2", Group: "web"}},
			Agents: []slots.Status{
				{ID: "h", State: "failed"}, {ID: "idle", State: "idle"}, {ID: "q1", State: "queued"},
				{ID: "kept", State: "closed", Wanted: "a new kernel", Blocked: []string{"window: opens Sat 02:00"}},
			},
		},
		"other": {Holders: []slots.Record{{ID: "o", Group: "other"}}},
	}}
	describe := func() (lines []string) {
		for _, m := range Of(s, "web", noon) {
			lines = append(lines, fmt.Sprintf("%s %s %s: %s", m.Name(), m.Standing, m.State, strings.Join(m.Why, "; ")))
		}
		return lines
	}
	want := []string{
		"h holds failed: did not come back well: nginx.service is failed",
		"queen waits queued: every slot is taken: by h",
		"q2 waits : every slot is taken: by h",
		"kept kept closed: window: opens Sat 02:00",
		"idle settled idle: ",
	}
	if got := describe(); !slices.Equal(got, want) {
		t.Errorf("plan:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	s.Groups["web"].Policy.Max = at(2)
	want[1], want[2] = "queen next queued: ", "q2 waits : it is the turn of queen"
	if got := describe(); !slices.Equal(got, want) {
		t.Errorf("plan with a free slot:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if Of(s, "nobody", noon) != nil {
		t.Error("an unknown group has machines")
	}
}

func TestFind(t *testing.T) {
	machines := []Machine{{ID: "aa1", Hostname: "web-1"}, {ID: "aa2", Hostname: "web-10"}, {ID: "bb", Hostname: "aa1"}}
	for name, want := range map[string]int{"web-1": 1, "web": 2, "aa": 3, "aa1": 2, "bb": 1, "x": 0} {
		if got := Find(machines, name); len(got) != want {
			t.Errorf("%s: %d machines, want %d", name, len(got), want)
		}
	}
}

// fleet makes machines of words like "a/zone/stage".
func fleet(words ...string) (records []slots.Record) {
	for _, w := range words {
		parts := append(strings.Split(w, "/"), "", "")
		r := slots.Record{ID: parts[0], Group: "g", Zone: parts[1]}
		if parts[2] != "" {
			r.Stage = int(parts[2][0] - '0')
		}
		records = append(records, r)
	}
	return records
}

func TestSimulate(t *testing.T) {
	for _, test := range []struct {
		name     string
		rules    slots.Rules
		machines []slots.Record
		want     string // minute:machines that go, and who never does
	}{
		{"one after another", slots.Rules{}, fleet("a", "b", "c"), "0:a 10:b 20:c"},
		{"two at once", slots.Rules{Group: slots.Policy{Max: at(2)}}, fleet("a", "b", "c"), "0:a,b 10:c"},
		{"zone after zone", slots.Rules{Group: slots.Policy{Max: at(2), Zones: 1}}, fleet("a/1", "b/2", "c/1", "d/2"), "0:a,c 10:b,d"},
		{"one of each zone", slots.Rules{Group: slots.Policy{Max: at(9), PerZone: 1}}, fleet("a/1", "b/2", "c/1"), "0:a,b 10:c"},
		{"members one at a time", slots.Rules{Group: slots.Policy{Max: at(9)}}, []slots.Record{{ID: "a", Group: "g", Member: "1"}, {ID: "b", Group: "g", Member: "2"}, {ID: "c", Group: "g"}}, "0:a,c 10:b"},
		{"canaries soak", slots.Rules{Group: slots.Policy{Max: at(9), SoakSeconds: 1800}}, fleet("b//1", "a//0", "c//1"), "0:a 40:b,c"},
		{"paused", slots.Rules{Standing: slots.Standing{Pause: &slots.Pause{By: "ann"}}}, fleet("a"), "never:a"},
		{"nobody may", slots.Rules{Group: slots.Policy{Max: at(0)}}, fleet("a", "b"), "never:a never:b"},
		{"nobody is there", slots.Rules{}, nil, ""},
	} {
		r := Simulate(test.rules, test.machines, 10*time.Minute, noon)
		var words []string
		for _, s := range r.Steps {
			if len(s.Goes) > 0 {
				words = append(words, fmt.Sprintf("%d:%s", int(s.After.Minutes()), strings.Join(s.Goes, ",")))
			}
		}
		for _, m := range r.Never {
			if len(m.Why) == 0 {
				t.Errorf("%s: %s never goes, without a reason", test.name, m.ID)
			}
			words = append(words, "never:"+m.ID)
		}
		if got := strings.Join(words, " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
