// Package agent decides when one machine may reboot, and reboots it.
//
// The agent is a state machine: a table of states, and one step for each. While a
// reboot is wanted it waits, in this order, for the window, for all that blocks a
// reboot, and for its turn in the queue of its group. With the slot it warns those
// who are logged in, runs the programs before a reboot, records that the machine
// goes, looks at everything once more, and asks logind. After the boot a new agent
// finds the record of its machine. When the boot id has changed the machine has
// rebooted, and the slot is given back once it is in order; when it has not, the
// agent alone was restarted, and carries on where the record says.
//
//	Starting ──► Idle ──► Closed ◄─► Blocked ◄─► Queued       a reboot is wanted
//	  │ │ │       ▲▲▲       │           │           │
//	  │ │ │       │││◄──────┴───────────┴───────────┤
//	  │ │ │       │││                               ▼ the machine's turn
//	  │ │ └───────┼┼┼─────────────────────────► Holding ──┐
//	  │ │         │││                               ▼     │
//	  │ ├─────────┼┼┼─────────────────────────► Draining ─┤
//	  │ │         │││                               ▼     │
//	  │ └─────────┼┼┼─────────────────────────► Rebooting ┤ ─► Gone
//	  │           │││                               ▼     │
//	  │           │││                             Asked ──┤
//	  │           ││└─── BackingOff ◄─┐                   │
//	  │           │└────────────── GivingUp ◄─────────────┘
//	  │           │
//	  ├──► Verifying ──► Failed      the machine was booted
//	  └──────────────────► │         both end in Idle
//
// Rules that hold in every order of events:
//
//   - The machine never reboots without its slot: the possession is verified by its
//     fence right before logind is asked, and so are the wish, the window and the blockers.
//   - A slot is given back when the machine stays up, with the reason, or when it is
//     back under another boot id and in order; never in between.
//   - As long as it is not certain that the machine stays up, the slot is kept.
//   - A slot that somebody else took for this machine is left to him.
//   - Between any two writes the agent may end: the next finds the record and goes on.
//
// What the machine does is behind [Machine]; where the slots are is the business
// of package slots.
package agent
