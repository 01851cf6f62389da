package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/locksmith/slots"
)

// slowly is Simulate in the plainest way: minute by minute, asking for one machine after another.
func slowly(rules slots.Rules, machines []slots.Record, minutes int, from time.Time) (went map[string]int) {
	went = map[string]int{}
	type out struct {
		slots.Record
		back int
	}
	var down []out
	var queue []slots.Record
	for i, m := range machines {
		m.Since, m.Fence, m.Phase = from, int64(i+1), slots.Waiting
		queue = append(queue, m)
	}
	slices.SortStableFunc(queue, slots.CompareInQueue)
	for minute := range 1000 {
		now := from.Add(time.Duration(minute) * time.Minute)
		var holders []slots.Record
		down = slices.DeleteFunc(down, func(o out) bool {
			if o.back > minute {
				holders = append(holders, o.Record)
				return false
			}
			rules.Standing = rules.Standing.Succeed(o.Stage, now)
			return true
		})
		for again := true; again; {
			again = false
			for i, m := range queue {
				if rules.Turn(holders, queue[:i], m, now) == nil {
					went[m.ID], again = minute, true
					holders, down = append(holders, m), append(down, out{m, minute + minutes})
					queue = slices.Delete(queue, i, i+1)
					break
				}
			}
		}
	}
	return went
}

func TestSimulateOracle(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		rules := slots.Rules{Group: slots.Policy{Max: at(rng.IntN(4)), PerZone: rng.IntN(3), Zones: rng.IntN(3), SoakSeconds: 60 * int64(rng.IntN(9))}}
		var machines []slots.Record
		for i := range rng.IntN(9) {
			m := slots.Record{ID: fmt.Sprint("m", i), Group: "g", Zone: fmt.Sprint("z", rng.IntN(3)), Stage: rng.IntN(3), Priority: rng.IntN(2)}
			if rng.IntN(4) == 0 {
				m.Member = m.ID
			}
			machines = append(machines, m)
		}
		minutes := 1 + rng.IntN(6)
		want := slowly(rules, machines, minutes, noon)
		got := map[string]int{}
		rollout := Simulate(rules, machines, time.Duration(minutes)*time.Minute, noon)
		for _, s := range rollout.Steps {
			for _, id := range s.Goes {
				got[id] = int(s.After / time.Minute)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || len(got)+len(rollout.Never) != len(machines) {
			t.Fatalf("seed %d: machines go at the minutes %v, want %v; never %v\nrules %+v\n%+v", seed, got, want, rollout.Never, rules, machines)
		}
	}
}

// TestSimulateManyMachines takes many minutes unless each step ends with the first machine
// for which no slot is left.
func TestSimulateManyMachines(t *testing.T) {
	var machines []slots.Record
	for i := range 5000 {
		machines = append(machines, slots.Record{ID: fmt.Sprint(i), Group: "g", Zone: fmt.Sprint("z", i%5), Stage: min(1, i)})
	}
	rollout := Simulate(slots.Rules{Group: slots.Policy{Max: at(50)}}, machines, time.Minute, noon)
	if len(rollout.Never) > 0 || rollout.Took != 101*time.Minute {
		t.Errorf("took %v, never %d, want 101m and none", rollout.Took, len(rollout.Never))
	}
}
