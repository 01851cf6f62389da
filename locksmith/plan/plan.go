// Package plan says what the machines of a fleet will do next, and what they would
// do under other policies. It is pure: it works on what was read from the store.
package plan

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/locksmith/slots"
)

// Standing is where a machine is on its way through a reboot.
type Standing string

const (
	Holds   Standing = "holds"   // has a slot
	Next    Standing = "next"    // nothing stands against its slot
	Waits   Standing = "waits"   // is in the queue
	Kept    Standing = "kept"    // wants to reboot; its window or a blocker keeps it from asking for a slot
	Settled Standing = "settled" // wants nothing
	Absent  Standing = "absent"  // its agent is not alive
)

// Machine is one machine of a plan.
type Machine struct {
	ID       string        `json:"id"`
	Hostname string        `json:"hostname,omitempty"`
	Zone     string        `json:"zone,omitempty"`
	Stage    int           `json:"stage"`
	Priority int           `json:"priority"`
	Standing Standing      `json:"standing"`
	Phase    slots.Phase   `json:"phase,omitempty"` // of one that holds a slot or waits
	State    string        `json:"state,omitempty"` // of its agent, "" if that is not alive
	Since    time.Time     `json:"since,omitzero"`  // of the phase, or else of the state
	Wanted   string        `json:"wanted,omitempty"`
	Why      []string      `json:"why,omitempty"`    // what stands against its going on, for people
	Holder   *slots.Record `json:"record,omitempty"` // of one that holds a slot
}

// Name is what people know the machine by.
func (m *Machine) Name() string {
	if m.Hostname != "" {
		return m.Hostname
	}
	return m.ID
}

// Of lists the machines of a group in the order in which they go: those that hold
// a slot, the queue, those whose window or blockers keep them, and the others.
func Of(s *slots.Snapshot, group string, now time.Time) []Machine {
	g := s.Groups[group]
	if g == nil {
		return nil
	}
	agents := map[string]slots.Status{}
	for _, a := range g.Agents {
		agents[a.ID] = a
	}
	var machines []Machine
	for _, r := range g.Holders {
		machines = append(machines, holder(r, agents))
		delete(agents, r.ID)
	}
	queued := map[string]bool{}
	s.Rules(group).Turns(s.Holders(), g.Queue, now, func(i int, refused error) bool {
		r := g.Queue[i]
		if _, holds := slots.HolderOf(g.Holders, r.ID); holds || queued[r.ID] {
			return true // its place is left over
		}
		if damaged := s.Stops(group); damaged != nil {
			refused = damaged
		}
		machines = append(machines, waiting(r, agents[r.ID], refused))
		queued[r.ID] = true
		delete(agents, r.ID)
		return true
	})
	for _, standing := range []Standing{Kept, Settled} {
		for _, a := range g.Agents {
			if _, left := agents[a.ID]; left && (a.Wanted != "") == (standing == Kept) {
				machines = append(machines, alive(a, standing))
			}
		}
	}
	return machines
}

func holder(r slots.Record, agents map[string]slots.Status) Machine {
	m := of(r, Holds)
	m.Holder, m.Wanted = &r, r.Reason
	a, ok := agents[r.ID]
	m.State = a.State
	if r.Failed != "" {
		m.Why = append(m.Why, "did not come back well: "+r.Failed)
	}
	if !ok && r.TakenBy == slots.TakenByAgent {
		m.Why = append(m.Why, "its agent is not alive")
	}
	m.Why = append(m.Why, a.Blocked...)
	if r.Note != "" {
		m.Why = append(m.Why, r.Note)
	}
	return m
}

func waiting(r slots.Record, a slots.Status, refused error) Machine {
	m := of(r, Next)
	m.State, m.Wanted = a.State, r.Reason
	if refused != nil {
		m.Standing, m.Why = Waits, []string{Why(refused)}
	}
	return m
}

func of(r slots.Record, standing Standing) Machine {
	return Machine{
		ID: r.ID, Hostname: r.Hostname, Zone: r.Zone, Stage: r.Stage, Priority: r.Priority,
		Standing: standing, Phase: r.Phase, Since: r.PhaseSince,
	}
}

func alive(a slots.Status, standing Standing) Machine {
	return Machine{
		ID: a.ID, Hostname: a.Hostname, Zone: a.Zone, Stage: a.Stage, Priority: a.Priority,
		Standing: standing, State: a.State, Since: a.Since, Wanted: a.Wanted, Why: a.Blocked,
	}
}

// Why is a refusal as a sentence for people.
func Why(refused error) string {
	if full, ok := errors.AsType[*slots.FullError](refused); ok {
		if full.Max == 0 {
			return "the group's limit is 0"
		}
		return "every slot is taken: by " + strings.Join(full.By, ", ")
	}
	if r, ok := errors.AsType[*slots.RefusedError](refused); ok {
		return r.Why
	}
	if d, ok := errors.AsType[*slots.DamagedError](refused); ok {
		if d.ID != "" {
			return "no slot is granted while the record of a holder cannot be read: " + d.ID + " of group " + d.Group
		}
		return "no slot is granted while what the group allows cannot be read: " + d.Key
	}
	return refused.Error()
}

// Find returns the machines that a person may mean by name: an id, a hostname, or
// if there is no such machine the beginning of one.
func Find(machines []Machine, name string) []Machine {
	exact := slices.DeleteFunc(slices.Clone(machines), func(m Machine) bool { return m.ID != name && m.Hostname != name })
	if len(exact) > 0 {
		return exact
	}
	return slices.DeleteFunc(slices.Clone(machines), func(m Machine) bool {
		return !strings.HasPrefix(m.ID, name) && !strings.HasPrefix(m.Hostname, name)
	})
}
