package agent

import (
	"fmt"
	"slices"
)

// State is where an agent stands.
type State int

// The states, from the wish for a reboot to the return.
const (
	Starting State = iota
	Idle
	Closed
	Blocked
	Queued
	Holding
	Draining
	Rebooting
	Asked
	Gone
	Verifying
	Failed
	GivingUp
	BackingOff
)

// states is the table of the state machine: docs/REBOOTS.md shows it, and a test
// holds the two together.
var states = [...]struct {
	name, means string
	next        []State
}{
	Starting:   {"starting", "has not yet looked for a record of its machine", []State{Idle, Holding, Draining, Rebooting, Verifying, Failed}},
	Idle:       {"idle", "no reboot is wanted", []State{Closed, Blocked, Queued, Holding}},
	Closed:     {"closed", "a reboot is wanted and the window is closed, or the jitter not over", []State{Idle, Blocked, Queued, Holding}},
	Blocked:    {"blocked", "the window is open, and something forbids the reboot", []State{Idle, Closed, Queued, Holding}},
	Queued:     {"queued", "nothing on the machine forbids the reboot: it waits for its turn", []State{Idle, Closed, Blocked, Holding}},
	Holding:    {"holding", "the machine has a slot; those who are logged in are warned and have their time", []State{Draining, GivingUp}},
	Draining:   {"draining", "the programs before the reboot run", []State{Rebooting, GivingUp}},
	Rebooting:  {"rebooting", "the record says that the machine goes; the last look, then logind is asked", []State{Gone, Asked, GivingUp}},
	Asked:      {"asked", "logind was asked and it is not known whether the machine goes down", []State{GivingUp}},
	Gone:       {"gone", "the machine goes down: the agent has ended", nil},
	Verifying:  {"verifying", "the machine is back and still has its slot; checks and the programs after the reboot", []State{Idle, Failed}},
	Failed:     {"failed", "it did not come back well in time: the slot is kept and the checks go on", []State{Idle}},
	GivingUp:   {"giving up", "the machine stays up: what was drained is put to work again, the slot given back", []State{Idle, BackingOff}},
	BackingOff: {"backing off", "the last attempt came to nothing; the next has to wait", []State{Idle}},
}

func (s State) String() string {
	if s < 0 || int(s) >= len(states) {
		return fmt.Sprintf("state %d", int(s))
	}
	return states[s].name
}

// CanBecome reports whether next may follow s.
func (s State) CanBecome(next State) bool { return slices.Contains(states[s].next, next) }
