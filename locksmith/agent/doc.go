// Package agent decides when one machine may reboot, and reboots it.
//
// The agent is a state machine. It waits until a reboot is wanted, takes a slot
// of the machine's group, looks once more whether all still stands, records that
// the machine goes, and runs the reboot. After the boot a new agent finds the
// record of its machine: when the boot id has changed the machine has rebooted,
// and the slot is given back after a look at its health; when it has not, the
// agent alone was restarted, keeps the slot and carries on.
//
//	Starting ──► Idle ◄──► Waiting ◄──► Holding ──► Rebooting ──► Gone
//	    │         ▲  ▲                     │            │
//	    │         │  └───── GivingUp ◄─────┴────────────┘
//	    │         │             │
//	    │         ├──────── BackingOff   (the reboot failed)
//	    │         │
//	    ├──► Verifying   (the machine was booted)
//	    └──► Holding     (the agent alone was restarted)
//
// What the machine does is behind [Machine]; where the slots are is the business
// of package slots.
package agent
