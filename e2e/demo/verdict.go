package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/coordd/coordd/locksmith/slots"
)

// expectation is what the history must show.
type expectation struct {
	holdersPrefix string   // of the keys of the slots' holders
	machines      []string // all must have rebooted
	maxDown       int      // as many may be down, or hold a slot, at the same time
	acked         []write  // in the order of their acknowledgement
}

// finding is one claim and what speaks against it; nothing, if it is true.
type finding struct {
	claim string
	wrong []string
}

func (f *finding) against(format string, args ...any) {
	f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
}

// judge compares a store's complete history with what it must show.
func judge(history []event, want expectation) []finding {
	complete := judgeComplete(history)
	rebooted, down, free := judgeReboots(history, want)
	return []finding{complete, rebooted, down, judgeWrites(history, want.acked), free}
}

// judgeComplete demands that no revision is missing: else the rest proves nothing.
// The first change of a new store has revision 2.
func judgeComplete(history []event) finding {
	f := finding{claim: fmt.Sprintf("%d changes, no revision is missing", len(history))}
	last := int64(1)
	for _, e := range history {
		if e.revision != last && e.revision != last+1 {
			f.against("revision %d follows %d", e.revision, last)
		}
		last = e.revision
	}
	return f
}

// trip is how far a machine is, as its records tell.
type trip struct {
	down     bool   // between rebooting and back
	boot     string // under which it went down
	reboots  int    // times it came back under another boot id
	released bool   // its slot, after it came back
}

// judgeReboots follows the records of the machines.
func judgeReboots(history []event, want expectation) (rebooted, down, free finding) {
	rebooted.claim = fmt.Sprintf("%d machines rebooted and came back, each under another boot id", len(want.machines))
	down.claim = fmt.Sprintf("never more than %d machine down, never more than %d slot taken", want.maxDown, want.maxDown)
	free.claim = "every slot is free at the end"
	trips, holders := map[string]*trip{}, map[string]bool{}
	for _, e := range history {
		id, ok := strings.CutPrefix(e.key, want.holdersPrefix)
		if !ok {
			continue
		}
		t := trips[id]
		if t == nil {
			t = &trip{}
			trips[id] = t
		}
		if e.deleted {
			delete(holders, id)
			t.released = t.reboots > 0
			if t.down {
				rebooted.against("%s lost its slot while it was down, at revision %d", id, e.revision)
			}
			continue
		}
		holders[id] = true
		if err := t.follow(e.value); err != nil {
			rebooted.against("%s at revision %d: %v", id, e.revision, err)
		}
		if len(holders) > want.maxDown {
			down.against("slots of %s at revision %d", names(holders), e.revision)
		}
		if ids := downAt(trips); len(ids) > want.maxDown {
			down.against("%s down at revision %d", names(ids), e.revision)
		}
	}
	for _, id := range want.machines {
		t := trips[id]
		switch {
		case t == nil:
			rebooted.against("%s never took a slot", id)
		case t.down:
			rebooted.against("%s never came back", id)
		case t.reboots != 1:
			rebooted.against("%s rebooted %d times", id, t.reboots)
		case !t.released:
			rebooted.against("%s came back and never gave its slot back", id)
		}
	}
	if len(holders) > 0 {
		free.against("slots of %s", names(holders))
	}
	return rebooted, down, free
}

// follow takes the next record of a machine.
func (t *trip) follow(value string) error {
	var r slots.Record
	if err := json.Unmarshal([]byte(value), &r); err != nil {
		return fmt.Errorf("no record: %w", err)
	}
	switch {
	case r.Phase == slots.Rebooting:
		t.down, t.boot = true, r.BootID
	case !t.down:
	case r.Phase == slots.Back && r.BootID != t.boot:
		t.down = false
		t.reboots++
	case r.Phase == slots.Back:
		return fmt.Errorf("back under the boot id %q under which it went", r.BootID)
	case r.Phase == slots.Held && r.BootID == t.boot:
		t.down = false // the reboot could not be started
	default:
		return fmt.Errorf("%s while it was down", r.Phase)
	}
	return nil
}

func downAt(trips map[string]*trip) map[string]bool {
	ids := map[string]bool{}
	for id, t := range trips {
		if t.down {
			ids[id] = true
		}
	}
	return ids
}

func names(ids map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(ids)), " and ")
}

// judgeWrites demands every acknowledged value at its revision, once, and in order.
func judgeWrites(history []event, acked []write) finding {
	f := finding{claim: fmt.Sprintf("%d acknowledged writes, each there once and in order", len(acked))}
	if len(acked) == 0 {
		f.against("no write was acknowledged")
	}
	found := map[string][]int64{}
	for _, e := range history {
		if e.key == counterKey {
			found[e.value] = append(found[e.value], e.revision)
		}
	}
	last := int64(0)
	for _, w := range acked {
		switch revisions := found[strconv.Itoa(w.n)]; {
		case len(revisions) == 0:
			f.against("write %d, acknowledged at revision %d, is missing", w.n, w.revision)
		case len(revisions) > 1:
			f.against("write %d is there %d times, at revisions %d", w.n, len(revisions), revisions)
		case revisions[0] != w.revision:
			f.against("write %d, acknowledged at revision %d, is at %d", w.n, w.revision, revisions[0])
		case w.revision <= last:
			f.against("write %d at revision %d is not after the one before it, at %d", w.n, w.revision, last)
		}
		last = w.revision
	}
	return f
}
