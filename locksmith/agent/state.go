package agent

import (
	"fmt"
	"slices"
)

// State is where an agent stands.
type State int

const (
	Starting   State = iota // has not yet looked for a record of its machine
	Idle                    // no reboot is wanted
	Waiting                 // a reboot is wanted, the machine has no slot
	Holding                 // the machine has a slot
	Rebooting               // the record says so; the last look, then the reboot
	Verifying               // the machine has rebooted and still has its slot
	GivingUp                // the machine stays up: the slot is to be given back
	BackingOff              // the last attempt failed
	Gone                    // the reboot is under way: the agent has ended
)

var stateNames = [...]string{"starting", "idle", "waiting", "holding", "rebooting", "verifying", "giving up", "backing off", "gone"}

func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int(s))
	}
	return stateNames[s]
}

// transitions lists for each state those that may follow it.
var transitions = map[State][]State{
	Starting:   {Idle, Holding, Verifying},
	Idle:       {Waiting},
	Waiting:    {Idle, Holding},
	Holding:    {Waiting, Rebooting, GivingUp},
	Rebooting:  {Waiting, Gone, GivingUp},
	Verifying:  {Idle},
	GivingUp:   {Idle, BackingOff},
	BackingOff: {Idle},
	Gone:       {},
}

// CanBecome reports whether next may follow s.
func (s State) CanBecome(next State) bool { return slices.Contains(transitions[s], next) }
