package slots

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// fleetCase is a fleet at random, small enough that its rules meet all the time.
type fleetCase struct {
	rules          Rules
	holders, queue []Record
	now            time.Time
}

func randomCase(rng *rand.Rand) fleetCase {
	c := fleetCase{now: noon.Add(time.Duration(rng.IntN(20)) * time.Minute)}
	for _, p := range []*Policy{&c.rules.Group, &c.rules.Cluster} {
		if rng.IntN(3) > 0 {
			p.Max = at(rng.IntN(6))
		}
		p.PerZone, p.Zones = rng.IntN(3), rng.IntN(4)
	}
	if rng.IntN(2) == 0 {
		c.rules.Group.SoakSeconds = int64(rng.IntN(1200))
		c.rules.Standing.Returned = map[int]time.Time{rng.IntN(3): noon.Add(time.Duration(rng.IntN(20)) * time.Minute)}
	}
	if rng.IntN(20) == 0 {
		c.rules.Standing.Pause = &Pause{By: "ann"}
	}
	for n := range rng.IntN(5) {
		c.holders = append(c.holders, randomMachine(rng, fmt.Sprint("h", n), []string{"g", "other"}[rng.IntN(2)]))
	}
	for n := range 1 + rng.IntN(7) {
		c.queue = append(c.queue, randomMachine(rng, fmt.Sprint("q", n), "g"))
	}
	if rng.IntN(3) == 0 { // a place that is left over
		r := c.queue[rng.IntN(len(c.queue))]
		r.Stage, r.Fence = rng.IntN(3), int64(rng.IntN(1000))
		c.queue = append(c.queue, r)
	}
	if len(c.holders) > 0 && rng.IntN(3) == 0 {
		r := c.holders[0]
		r.Group = "g"
		c.holders[0] = r
		c.queue = append(c.queue, r)
	}
	slices.SortStableFunc(c.queue, CompareInQueue)
	return c
}

func randomMachine(rng *rand.Rand, id, group string) Record {
	r := Record{ID: id, Group: group, Zone: []string{"", "z1", "z2", "z3"}[rng.IntN(4)], Stage: rng.IntN(3), Priority: rng.IntN(2),
		Since: noon.Add(-time.Duration(rng.IntN(20)) * time.Minute), Fence: int64(rng.IntN(1000))}
	if rng.IntN(4) == 0 {
		r.Member = id
	}
	return r
}

// mayJoin says of the documented limits whether all of them hold with one machine more,
// by counting what would be.
func mayJoin(r *Rules, down []Record, want Record) bool {
	if r.ClusterStanding.Pause != nil || r.Standing.Pause != nil {
		return false
	}
	fits := func(p Policy, none int, of func(Record) bool) bool {
		n, zones := 1, map[string]int{}
		for _, d := range down {
			if of(d) {
				n++
				zones[d.Zone]++
			}
		}
		_, there := zones[want.Zone]
		zones[want.Zone]++
		limit := none
		if p.Max != nil {
			limit = *p.Max
		}
		return n <= limit && (p.PerZone == 0 || zones[want.Zone] <= p.PerZone) && (p.Zones == 0 || there || len(zones) <= p.Zones)
	}
	members := 0
	for _, d := range down {
		if d.Member != "" {
			members++
		}
	}
	return (want.Member == "" || members == 0) &&
		fits(r.Group, DefaultMax, func(d Record) bool { return d.Group == want.Group }) &&
		fits(r.Cluster, MaxSlots, func(Record) bool { return true })
}

// mayStart says of the documented stages whether those before that of want are through.
func mayStart(r *Rules, holders, queue []Record, want Record, now time.Time) bool {
	if want.Stage == 0 {
		return true
	}
	for _, o := range slices.Concat(holders, queue) {
		if o.Group == want.Group && o.ID != want.ID && o.Stage < want.Stage {
			return false
		}
	}
	soak := time.Duration(r.Group.SoakSeconds) * time.Second
	for stage, at := range r.Standing.Returned {
		if stage < want.Stage && now.Sub(at) < soak {
			return false
		}
	}
	return now.Sub(want.Since) >= soak
}

// going names those of the queue whose turn it is, by letting them go one by one.
func going(c fleetCase) (names []string) {
	down := slices.Clone(c.holders)
	seen := map[string]bool{}
	for _, h := range c.holders {
		seen[h.Group+"/"+h.ID] = true
	}
	for i, w := range c.queue {
		if seen[w.Group+"/"+w.ID] {
			continue
		}
		seen[w.Group+"/"+w.ID] = true
		if mayJoin(&c.rules, down, w) && mayStart(&c.rules, c.holders, c.queue[:i], w, c.now) {
			names, down = append(names, w.ID), append(down, w)
		}
	}
	return names
}

// TestTurnOracle compares the rules with the sentences they are told in, each
// written down a second time in the plainest way.
func TestTurnOracle(t *testing.T) {
	granted, refused := 0, map[Refusal]int{}
	for seed := range uint64(6_000) {
		c := randomCase(rand.New(rand.NewPCG(seed, 5)))
		want := going(c)
		var got []string
		seen := map[string]bool{}
		for i, w := range c.queue {
			if err := c.rules.Refuses(c.holders, w); (err == nil) != mayJoin(&c.rules, c.holders, w) {
				t.Fatalf("seed %d: Refuses says of %s: %v\n%s", seed, w.ID, err, c)
			}
			first := !seen[w.ID] && !slices.ContainsFunc(c.holders, func(h Record) bool { return h.machine() == w.machine() })
			seen[w.ID] = true
			err := c.rules.Turn(c.holders, c.queue[:i], w, c.now)
			if r, ok := errors.AsType[*RefusedError](err); ok {
				refused[r.Kind]++
			}
			if first && err == nil {
				got = append(got, w.ID)
				granted++
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: it is the turn of %v, want %v\n%s", seed, got, want, c)
		}
		checkTurns(t, seed, c)
	}
	for _, kind := range []Refusal{RefusedPaused, RefusedCluster, RefusedZone, RefusedMember, RefusedStage, RefusedQueue} {
		if refused[kind] < 100 {
			t.Errorf("%d refusals of kind %s: the cases do not try it", refused[kind], kind)
		}
	}
	if granted < 1000 {
		t.Errorf("%d grants: the cases do not try it", granted)
	}
}

// checkTurns compares the pass through a queue with a look at each machine.
func checkTurns(t *testing.T, seed uint64, c fleetCase) {
	t.Helper()
	c.rules.Turns(c.holders, c.queue, c.now, func(i int, err error) bool {
		if one := c.rules.Turn(c.holders, c.queue[:i], c.queue[i], c.now); fmt.Sprint(one) != fmt.Sprint(err) {
			t.Fatalf("seed %d: Turns says of the %d. %v, Turn %v\n%s", seed, i, err, one, c)
		}
		return true
	})
}

func (c fleetCase) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rules %+v\nnow %v\n", c.rules, c.now)
	for _, r := range c.holders {
		fmt.Fprintf(&b, "down  %s/%s zone %q stage %d member %q\n", r.Group, r.ID, r.Zone, r.Stage, r.Member)
	}
	for _, r := range c.queue {
		fmt.Fprintf(&b, "queue %s zone %q stage %d member %q since %v\n", r.ID, r.Zone, r.Stage, r.Member, r.Since)
	}
	return b.String()
}

// TestPlaceLeftOver lets others go although a machine's place in the queue was left
// behind, as by a delayed Enqueue or an operator's lock.
func TestPlaceLeftOver(t *testing.T) {
	r := Rules{Group: Policy{Max: at(2)}}
	m := machines("a", "b")
	if err := r.Turn(m[:1], m[:1], m[1], noon); err != nil {
		t.Errorf("a holds a slot and is ahead, of two slots: %v", err)
	}
	one := Rules{}
	if err := one.Turn(nil, m[:1], m[0], noon); err != nil {
		t.Errorf("a is before itself: %v", err)
	}
}

// TestTurnsOfManyMachines takes minutes unless the queue is gone through once.
func TestTurnsOfManyMachines(t *testing.T) {
	var queue []Record
	for i := range 5000 {
		queue = append(queue, Record{ID: fmt.Sprint(i), Group: "g", Zone: fmt.Sprint("z", i%7), Stage: 1, Fence: int64(i + 1)})
	}
	r := Rules{Group: Policy{Max: at(50), PerZone: 10}}
	turns := 0
	r.Turns(nil, queue, noon, func(_ int, err error) bool {
		if err == nil {
			turns++
		}
		return true
	})
	if turns != 50 {
		t.Errorf("%d machines may go, want 50", turns)
	}
}
