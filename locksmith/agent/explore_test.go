package agent

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/health"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/slots"
	"github.com/coordd/coordd/locksmith/window"
	"github.com/coordd/coordd/recipes/coordtest"
)

// explored is how many inputs long the sequences are of which every one is tried,
// from every situation of every journey. Two that lead to the same situation are
// tried once from there on.
var explored = flag.Int("explore", 2, "how many inputs from each situation of a journey TestExplore tries")

// journeys are what usually happens, by the first letters of the inputs' names:
// s step, c the checks pass or not, l logind's answer, b boot, p programs.
var journeys = []string{
	"ssssssbssss",       // a reboot and a good return
	"ssssssbcssssscsss", // a return that fails, and is mended
	"lsssssssss",        // logind refuses
	"llssssssss",        // logind is not heard, and does it
	"psssssssss",        // a program before the reboot fails
}

const (
	inputStep = iota
	inputWish
	inputBlocker
	inputWindow
	inputChecks
	inputLogind
	inputPrograms
	inputRestart
	inputBoot
)

var letters = map[rune]int{'s': inputStep, 'c': inputChecks, 'l': inputLogind, 'p': inputPrograms, 'b': inputBoot}

// roots are all beginnings of all journeys.
func roots() (sequences [][]int) {
	for _, journey := range journeys {
		var sequence []int
		for _, letter := range journey {
			sequences = append(sequences, slices.Clone(sequence))
			sequence = append(sequence, letters[letter])
		}
		sequences = append(sequences, sequence)
	}
	return sequences
}

// explorer is one run of the machine m1 through a sequence of inputs, in a group
// with one slot that others want as well.
type explorer struct {
	*world
	open, shut *window.Schedule
	closed     bool
	taken      *slots.Slot // by another machine
	going      bool        // logind has agreed to a reboot
	drained    bool        // programs before a reboot have run, and none after it since
	unlocked   bool        // by an operator: then no record says that the machine was drained
	broken     []string    // rules that were
}

// inputs are all that can happen to the machine, by name. One that cannot happen
// now reports false.
var inputs = [...]struct {
	name  string
	apply func(e *explorer) bool
}{
	inputStep: {"step", (*explorer).step},
	inputWish: {"the wish comes or goes", func(e *explorer) bool {
		if e.machine.wanted != nil {
			e.machine.wanted = nil
		} else {
			e.machine.wanted = []string{"a new kernel"}
		}
		return true
	}},
	inputBlocker: {"a blocker comes or goes", func(e *explorer) bool {
		if e.machine.blocks != nil {
			e.machine.blocks = nil
		} else {
			e.machine.blocks = []blocker.Reason{{Blocker: "inhibitors", Why: "apt"}}
		}
		return true
	}},
	inputWindow: {"the window opens or closes", func(e *explorer) bool { e.closed = !e.closed; e.schedule(); return true }},
	inputChecks: {"the checks pass or not", func(e *explorer) bool {
		if e.machine.sick == "" {
			e.machine.sick = "nginx is not active"
		} else {
			e.machine.sick = ""
		}
		return true
	}},
	inputLogind: {"logind agrees, refuses, or is not heard", func(e *explorer) bool {
		switch {
		case e.machine.refuse == nil:
			e.machine.refuse = errRefused
		case errors.Is(e.machine.refuse, errRefused):
			e.machine.refuse = login1.ErrUncertain
		default:
			e.machine.refuse = nil
		}
		return true
	}},
	inputPrograms: {"the programs before the reboot succeed or fail", func(e *explorer) bool {
		if e.machine.before == nil {
			e.machine.before = errors.New("exit status 1")
		} else {
			e.machine.before = nil
		}
		return true
	}},
	inputRestart: {"the agent is restarted", func(e *explorer) bool { e.restart(); e.schedule(); return e.agent.State() == Starting }},
	inputBoot: {"the machine is booted", func(e *explorer) bool {
		e.boot()
		e.schedule()
		e.going, e.machine.down = false, false
		return true
	}},
	{"an operator unlocks it", func(e *explorer) bool {
		s, _, err := e.group.Find(e.Context(), "m1")
		if err != nil {
			return false
		}
		e.unlocked = true
		return s.Unlock(e.Context(), "ann", "", e.now) == nil
	}},
	{"another machine takes the slot or gives it back", func(e *explorer) bool {
		if e.taken != nil {
			s := e.taken
			e.taken = nil
			return s.Release(e.Context()) == nil
		}
		var err error
		e.taken, err = e.group.Acquire(e.Context(), slots.Record{ID: "m0", TakenBy: slots.TakenByOperator})
		return err == nil
	}},
}

// step lets the agent take a step, and holds what it does against the rules.
func (e *explorer) step() bool {
	if e.agent.State() == Gone {
		return false
	}
	before, had := slots.Record{}, false
	if e.agent.slot != nil { // else it has nothing to give back
		before, had = e.record()
	}
	_, err := e.agent.Step(e.Context(), e.now)
	for err == nil && e.agent.looked { // what the last look has found is acted upon at once
		_, err = e.agent.Step(e.Context(), e.now)
	}
	e.now = e.now.Add(time.Second)
	if err != nil {
		e.breaks("a step failed: %v", err)
	}
	after, has := e.record()
	if had && (!has || after.Fence != before.Fence) {
		e.gaveBack(before)
	}
	if e.agent.State() == Idle && e.drained && !had && !e.unlocked {
		e.breaks("idle, and left drained")
	}
	return true
}

// gaveBack judges that the agent has given back the slot of which it had this record.
func (e *explorer) gaveBack(r slots.Record) {
	switch r.Phase {
	case slots.Back, slots.Verifying:
		if e.machine.sick != "" {
			e.breaks("the slot was given back though the checks do not pass")
		}
		if r.BootID != e.machine.bootID() {
			e.breaks("the slot was given back under boot id %s by one that ran under %s", r.BootID, e.machine.bootID())
		}
	}
	if e.going {
		e.breaks("the slot was given back while the machine goes down")
	}
	if e.drained {
		e.breaks("the slot of a drained machine was given back")
	}
}

// deed judges what the machine was told to do.
func (e *explorer) deed(call string) {
	switch {
	case call == "before":
		e.drained = true
	case strings.HasPrefix(call, "after"):
		e.drained = e.drained && e.machine.after != nil
	case call == "reboot" && e.going: // logind knows of the first one
	case call == "reboot":
		r, held := e.record()
		switch {
		case !held || r.TakenBy != slots.TakenByAgent || r.Fence != e.agent.slot.Fence():
			e.breaks("a reboot without the slot")
		case r.Phase != slots.Rebooting || r.BootID != e.machine.bootID():
			e.breaks("a reboot that its record does not tell of: %+v", r)
		case e.machine.wanted == nil:
			e.breaks("a reboot that nobody wants")
		case e.closed:
			e.breaks("a reboot outside of the window")
		case e.machine.blocks != nil:
			e.breaks("a reboot that a blocker forbids")
		}
		e.going = e.machine.refuse == nil || errors.Is(e.machine.refuse, login1.ErrUncertain)
		e.machine.down = e.going
	}
}

func (e *explorer) breaks(format string, args ...any) {
	e.broken = append(e.broken, fmt.Sprintf(format, args...))
}

func (e *explorer) record() (r slots.Record, held bool) {
	_, r, err := e.group.Find(e.Context(), "m1")
	return r, err == nil
}

func (e *explorer) schedule() {
	e.agent.config.Schedule = e.open
	if e.closed {
		e.agent.config.Schedule = e.shut
	}
}

// situation is what decides on all that can follow.
func (e *explorer) situation() string {
	a, m := e.agent, e.machine
	r, held := e.record()
	state, err := e.group.State(e.Context())
	if err != nil || len(state.Holders) > 1 {
		e.Fatalf("%d machines hold the one slot: %v", len(state.Holders), err)
	}
	return fmt.Sprint(
		a.state, a.wish != "", a.queued, a.slot != nil, a.slot != nil && held && a.slot.Fence() == r.Fence,
		a.begun, a.drained, a.looked, a.failure != nil, a.retreat, a.until.After(e.now),
		min(e.now.Sub(a.since), 4*time.Second), a.bootID == m.bootID(),
		m.wanted != nil, m.blocks != nil, m.sick, m.refuse, m.before != nil, m.down, e.closed, e.going, e.drained, e.unlocked,
		held, r.Phase, r.Failed != "", r.BootID == m.bootID(), e.taken != nil, state.Waiting,
	)
}

// inMemory is inWorld on a store without a disk.
func inMemory(t *testing.T, test func(w *world)) {
	inWorld(t, func(w *world) {
		w.client = coordtest.Start(t).NewClient(t).Client
		test(w)
	})
}

// play replays a sequence on a fresh machine and group. ok reports that all of its
// inputs could happen.
func play(base *world, open, shut *window.Schedule, run int, sequence []int) (e *explorer, ok bool) {
	group, err := slots.NewGroup(base.client, fmt.Sprintf("test/%s/%d", base.Name(), run), "web")
	if err != nil {
		base.Fatal(err)
	}
	e = &explorer{open: open, shut: shut, world: &world{
		T: base.T, client: base.client, group: group, now: noon, machine: &simulated{wanted: []string{"a new kernel"}},
		health: health.Config{Deadline: 2 * time.Second},
	}}
	e.machine.did = e.deed
	e.restart()
	e.schedule()
	for _, i := range sequence {
		if !inputs[i].apply(e) {
			return e, false
		}
	}
	return e, true
}

// TestExplore tries every sequence of inputs, of a length, from every situation of
// the journeys, and holds each step of the agent against the rules.
func TestExplore(t *testing.T) {
	inMemory(t, func(w *world) {
		open, err := window.New(window.Config{}, "m1", time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		shut, err := window.New(window.Config{Blackouts: []window.Blackout{{From: "2000-01-01", To: "2100-01-01"}}}, "m1", time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		x := exploration{world: w, open: open, shut: shut, seen: map[string]bool{}}
		for _, sequence := range roots() {
			if !x.try(sequence) {
				t.Fatalf("no journey: %s", story(sequence))
			}
		}
		t.Logf("%d situations of journeys", len(x.found))
		for depth := 1; depth <= *explored; depth++ {
			frontier := x.found
			x.found = nil
			for _, sequence := range frontier {
				for i := range inputs {
					x.try(append(sequence[:len(sequence):len(sequence)], i))
				}
			}
			t.Logf("%d inputs from these: %d new situations, %d runs in all", depth, len(x.found), x.runs)
		}
	})
}

// exploration is what has been tried.
type exploration struct {
	*world
	open, shut *window.Schedule
	seen       map[string]bool // situations
	found      [][]int         // sequences that led to new ones
	runs       int
}

// try plays a sequence, and reports whether all of its inputs could happen.
func (x *exploration) try(sequence []int) (ok bool) {
	x.runs++
	e, ok := play(x.world, x.open, x.shut, x.runs, sequence)
	defer e.kill()
	if len(e.broken) > 0 {
		x.Fatalf("%s: after: %s", strings.Join(e.broken, "; "), story(sequence))
	}
	if situation := e.situation(); ok && !x.seen[situation] {
		x.seen[situation] = true
		x.found = append(x.found, sequence)
	}
	return ok
}

func story(sequence []int) string {
	var names []string
	for _, i := range sequence {
		names = append(names, inputs[i].name)
	}
	return strings.Join(names, ", ")
}

// TestExplorerComplains breaks the rules by hand.
func TestExplorerComplains(t *testing.T) {
	steps := func(n int) []int { return make([]int, n) }
	inMemory(t, func(w *world) {
		schedule, err := window.New(window.Config{}, "m1", time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		for i, test := range []struct {
			sequence []int
			do       func(e *explorer)
			want     string
		}{
			{steps(2), func(e *explorer) { e.deed("reboot") }, "without the slot"},
			{steps(4), func(e *explorer) { e.deed("reboot") }, "does not tell of"},
			{steps(5), func(e *explorer) { e.machine.wanted = nil; e.deed("reboot") }, "nobody wants"},
			{steps(5), func(e *explorer) { e.closed = true; e.deed("reboot") }, "outside of the window"},
			{steps(5), func(e *explorer) { e.machine.blocks = []blocker.Reason{{}}; e.deed("reboot") }, "a blocker forbids"},
			{steps(6), func(e *explorer) {
				e.going = true
				e.release(e.agent.slot)
				e.gaveBack(slots.Record{Phase: slots.Rebooting})
			}, "while the machine goes down"},
			{steps(6), func(e *explorer) { e.gaveBack(slots.Record{Phase: slots.Held}) }, "of a drained machine"},
			{nil, func(e *explorer) {
				e.machine.sick = "x"
				e.gaveBack(slots.Record{Phase: slots.Verifying, BootID: "boot-0"})
			}, "checks do not pass"},
			{nil, func(e *explorer) { e.gaveBack(slots.Record{Phase: slots.Verifying, BootID: "boot-9"}) }, "under boot id boot-9"},
		} {
			e, _ := play(w, schedule, schedule, i, test.sequence)
			if len(e.broken) > 0 {
				t.Fatalf("%d: %q before anything was done", i, e.broken)
			}
			test.do(e)
			if got := strings.Join(e.broken, "; "); !strings.Contains(got, test.want) {
				t.Errorf("%d: %q, want %q (the agent is %s)", i, got, test.want, e.agent.State())
			}
			e.kill()
		}
	})
}
