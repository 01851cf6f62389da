package machines

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Change is one change of one key of the store.
type Change struct {
	Revision int64
	Key      string
	Value    string // empty when deleted
	Deleted  bool
}

// History is what happened to a fleet and to the slots of its machines.
type History struct {
	Names   map[string]string // of the machines, by machine id
	Events  []Event           // of the fleet
	Changes []Change          // of the store, all of them, by rising revision
}

// Rules are what a history must keep to.
type Rules struct {
	MaxDown int      // as many machines may be down, or hold a slot, at the same time
	Members []string // names of the store's members, of which one may be down at a time
	GivenUp []string // names of the machines whose slots an operator gave back: they do not count
}

// Judge returns what in the history is against the rules: too many machines down, or
// two members; a reboot without a slot; a slot that was given back before its machine
// ran under another boot id.
func (h *History) Judge(r Rules) []string {
	var wrong []string
	wrong = append(wrong, h.judgeDown(r)...)
	return append(wrong, h.judgeSlots(r)...)
}

// judgeDown follows the machines themselves. A machine is down from the begin of its
// shutdown until it is up again; before it was up for the first time it does not count.
func (h *History) judgeDown(r Rules) (wrong []string) {
	up, down := map[string]bool{}, map[string]bool{}
	for _, e := range h.Events {
		switch e.What {
		case Up:
			up[e.Machine] = true
			delete(down, e.Machine)
			continue
		case Stopping, Cut, Ended:
		default:
			continue
		}
		if !up[e.Machine] || down[e.Machine] || slices.Contains(r.GivenUp, e.Machine) {
			continue
		}
		down[e.Machine] = true
		if why := tooMany(down, r); why != "" {
			wrong = append(wrong, fmt.Sprintf("down at %s: %s", e.At.Format("15:04:05.000"), why))
		}
	}
	return wrong
}

// tooMany says why these machines may not be down together, or "".
func tooMany(machines map[string]bool, r Rules) string {
	all := slices.Sorted(maps.Keys(machines))
	members := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !slices.Contains(r.Members, name) })
	switch {
	case len(all) > r.MaxDown:
		return fmt.Sprintf("%s, more than %d", strings.Join(all, " and "), r.MaxDown)
	case len(members) > 1:
		return fmt.Sprintf("%s, members of the store", strings.Join(members, " and "))
	}
	return ""
}

// trip is what one machine's slot has seen since it was taken.
type trip struct {
	phase  string // last one recorded
	boot   string // with it
	leaves string // boot id under which the machine said that it reboots; "" if it did not
}

// judgeSlots follows the records of the holders, and compares them with the boots that
// the machines really had.
func (h *History) judgeSlots(r Rules) (wrong []string) {
	held := map[string]*trip{}          // by machine
	covered := map[string][][2]string{} // boots that followed each other while a slot was held, by machine
	against := func(c Change, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("slots at revision %d: %s", c.Revision, fmt.Sprintf(format, args...)))
	}
	for _, c := range h.Changes {
		name, ok := h.holder(c.Key)
		if !ok || slices.Contains(r.GivenUp, name) {
			continue
		}
		t := held[name]
		if c.Deleted {
			if t != nil && !h.mayRelease(name, t) {
				against(c, "%s gave its slot back as %s under boot %s, and left boot %s", name, t.phase, t.boot, t.leaves)
			}
			delete(held, name)
			continue
		}
		if t == nil {
			t = &trip{}
			held[name] = t
			holders := map[string]bool{}
			for name := range held {
				holders[name] = true
			}
			if why := tooMany(holders, r); why != "" {
				against(c, "held by %s", why)
			}
		}
		if err := t.follow(c.Value); err != nil {
			against(c, "%s: %v", name, err)
		}
		if t.leaves != "" && t.leaves != t.boot {
			covered[name] = append(covered[name], [2]string{t.leaves, t.boot})
		}
	}
	return append(wrong, h.judgeReboots(covered)...)
}

// holder is the name of the machine to whose slot a key belongs.
func (h *History) holder(key string) (name string, ok bool) {
	if !strings.Contains(key, "/holders/") {
		return "", false
	}
	id := key[strings.LastIndexByte(key, '/')+1:]
	if name, ok = h.Names[id]; !ok {
		name = id
	}
	return name, true
}

// follow takes the next record of a holder.
func (t *trip) follow(value string) error {
	var record struct {
		Phase string `json:"phase"`
		Boot  string `json:"boot_id"`
	}
	if err := json.Unmarshal([]byte(value), &record); err != nil {
		return fmt.Errorf("no record: %w", err)
	}
	t.phase, t.boot = record.Phase, record.Boot
	switch record.Phase {
	case "rebooting":
		t.leaves = record.Boot
	case "held", "draining":
		t.leaves = "" // the reboot could not be started
	}
	return nil
}

// mayRelease: who said that it reboots has to run under another boot id, and that must
// be one under which the machine was really up.
func (h *History) mayRelease(name string, t *trip) bool {
	return t.leaves == "" || t.boot != t.leaves && slices.Contains(boots(h.Events, name), t.boot)
}

// judgeReboots demands a slot for each reboot that happened, but not for the return of
// a machine whose power was cut.
func (h *History) judgeReboots(covered map[string][][2]string) (wrong []string) {
	ran, cut := map[string]string{}, map[string]bool{}
	for _, e := range h.Events {
		name := e.Machine
		switch e.What {
		case Cut:
			cut[name] = true
		case Up:
			last, again := ran[name]
			switch {
			case again && last == e.Boot:
				wrong = append(wrong, fmt.Sprintf("%s came up twice under boot %s", name, last))
			case again && !cut[name] && !slices.Contains(covered[name], [2]string{last, e.Boot}):
				wrong = append(wrong, fmt.Sprintf("%s went from boot %s to %s without a slot", name, last, e.Boot))
			}
			ran[name], cut[name] = e.Boot, false
		}
	}
	return wrong
}
