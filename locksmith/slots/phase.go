package slots

import "slices"

// Phase says how far a machine is on its way through a reboot.
type Phase string

const (
	Waiting   Phase = "waiting"   // asks for a slot; the store has no record of it
	Held      Phase = "held"      // has a slot, runs as usual
	Draining  Phase = "draining"  // moves its work elsewhere
	Rebooting Phase = "rebooting" // has asked for the reboot, or is down
	Back      Phase = "back"      // runs under another boot id
	Verifying Phase = "verifying" // checks its health before it gives the slot back
)

// phases lists for each phase those that may follow it. Every phase may end
// with the release of the slot. A machine can come back from any phase in which
// it holds a slot, because it can crash in any of them.
var phases = map[Phase][]Phase{
	Waiting:   {Held},
	Held:      {Draining, Rebooting, Back},
	Draining:  {Held, Rebooting, Back},
	Rebooting: {Held, Back},
	Back:      {Verifying},
	Verifying: {Back},
}

// CanBecome reports whether next may follow p.
func (p Phase) CanBecome(next Phase) bool { return slices.Contains(phases[p], next) }
