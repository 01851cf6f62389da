package agent

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/slots"
	"github.com/coordd/coordd/locksmith/window"
)

var inhibited = []blocker.Reason{{Blocker: "inhibitor", Why: "apt (pid 4) blocks shutdown"}}

// rules are what an operator relies on, by name.
var rules = map[string]func(*world){
	"reboots, comes back and gives the slot back":             reboots,
	"waits for its turn in the queue":                         waitsForItsTurn,
	"does not reboot without its slot":                        lostSlot,
	"looks for the wish in the last moment":                   wishGoesLate,
	"looks at the window in the last moment":                  windowClosesLate,
	"looks at the blockers in the last moment":                blockerComesLate,
	"looks at the slot in the last moment":                    slotGoesLate,
	"leaves the queue when the window closes":                 windowClosesInQueue,
	"leaves the queue when something blocks":                  blockedInQueue,
	"leaves the queue when it cannot tell whether it wants":   cannotTellInQueue,
	"gives the slot back when an inhibitor appears":           inhibitorWhileHolding,
	"gives the slot back when logind refuses":                 logindRefuses,
	"gives the slot back when a program before fails":         beforeFails,
	"keeps the slot while it is uncertain what becomes of it": uncertain,
	"keeps the slot while the machine cannot be undrained":    undrainFails,
	"warns those who are logged in and gives them their time": warns,
	"is held up for ever by those it may not overrule":        usersForEver,
	"carries on from holding after a restart":                 restartWhileHolding,
	"carries on from draining after a restart":                restartWhileDraining,
	"carries on from rebooting after a restart":               restartWhileRebooting,
	"carries on from failed after a restart":                  restartWhileFailed,
	"takes a changed boot id for a return, whatever it did":   crashWhileHolding,
	"checks again when it boots once more":                    bootsAgain,
	"gives the slot back only when it is healthy":             sickThenWell,
	"runs the programs after before it gives the slot back":   afterFails,
	"keeps the slot of a return that failed":                  returnFails,
	"notices that somebody gave its slot back":                unlockedWhileVerifying,
	"leaves an operator's slot alone":                         operatorsSlot,
	"finishes a reboot that an operator began":                operatorsReboot,
	"does not take the slot of a machine with its id":         clonedID,
	"comes back to the queue when its lease was lost":         lostLease,
	"reports what it waits for":                               reportsStatus,
	"names itself as a member of the store":                   namesMember,
	"reboots without a slot where there is no group":          withoutGroup,
	"waits after a failure as long as it was told":            backsOff,
	"does not reboot again for what outlives the reboot":      wishOutlives,
}

func TestRules(t *testing.T) {
	for name, test := range rules {
		t.Run(name, func(t *testing.T) { inWorld(t, test) })
	}
}

func reboots(w *world) {
	w.steps(Idle, Queued, Holding)
	r := w.phases(slots.Held).Holders[0]
	if r.ID != "m1" || r.Hostname != "one" || r.Zone != "rack-1" || r.BootID != "boot-0" || r.Reason != "a new kernel" ||
		r.TakenBy != "locksmithd" || !r.Since.Equal(noon) {
		w.Errorf("record: %+v", r)
	}
	w.steps(Draining)
	w.phases(slots.Draining)
	w.steps(Rebooting, Rebooting)
	w.phases(slots.Rebooting)
	w.stays() // the record has to say so first
	w.steps(Gone)
	w.phases(slots.Rebooting)

	w.boot()
	w.steps(Verifying)
	if r := w.phases(slots.Back).Holders[0]; r.BootID != "boot-1" {
		w.Errorf("record: %+v, want the new boot", r)
	}
	w.steps(Idle)
	w.phases()
	w.history(slots.Returned, "")
	if want := []string{"before", "reboot", "after rebooted=true"}; !slices.Equal(w.machine.calls, want) {
		w.Errorf("%q was done, want %q", w.machine.calls, want)
	}
}

func waitsForItsTurn(w *world) {
	other := w.take("m0", "locksmithd")
	w.steps(Idle, Queued, Queued, Queued)
	w.waiting(1)
	w.why("every slot is taken")
	w.release(other)
	w.steps(Holding)
	w.waiting(0)
}

func lostSlot(w *world) {
	w.steps(Idle, Queued, Holding)
	w.release(w.agent.slot)
	w.steps(GivingUp, BackingOff)

	w.now = w.now.Add(time.Minute)
	w.steps(Idle, Queued, Holding, Draining)
	w.release(w.agent.slot)
	w.take("m1", "locksmithd") // the same machine, another fence
	w.steps(GivingUp, BackingOff)
	w.phases(slots.Held)
	w.stays()
}

// toLastMoment leads to the moment in which the record says that the machine goes.
func (w *world) toLastMoment() {
	w.Helper()
	w.steps(Idle, Queued, Holding, Draining, Rebooting)
}

// staysUp demands that the machine gives up, with all that belongs to it.
func (w *world) staysUp(next State, reason string) {
	w.Helper()
	w.steps(GivingUp, next)
	w.why(reason)
	w.phases()
	w.history(slots.Released, reason)
	w.stays()
	if last := w.machine.calls[len(w.machine.calls)-1]; last != "after rebooted=false" {
		w.Errorf("the machine was not put to work again: %q", w.machine.calls)
	}
}

func wishGoesLate(w *world) {
	w.toLastMoment()
	w.machine.wanted = nil
	w.staysUp(Idle, "no longer wanted")
}

func windowClosesLate(w *world) {
	w.windows.Windows = []window.Window{{Start: "12:00", Length: time.Hour, Zone: "UTC"}}
	w.restart()
	w.toLastMoment()
	w.steps(Rebooting) // the look at the machine took its time
	w.now = noon.Add(time.Hour)
	w.staysUp(Idle, "window is closed")
	w.steps(Closed)
}

func blockerComesLate(w *world) {
	w.toLastMoment()
	w.machine.blocks = inhibited
	w.staysUp(BackingOff, "apt (pid 4)")
}

func slotGoesLate(w *world) {
	w.toLastMoment()
	w.steps(Rebooting)
	w.release(w.agent.slot)
	w.take("m1", "locksmithd")
	w.steps(GivingUp, BackingOff)
	w.phases(slots.Held) // the other's
	w.stays()
}

func windowClosesInQueue(w *world) {
	w.windows.Windows = []window.Window{{Start: "12:00", Length: time.Hour, Zone: "UTC"}}
	w.restart()
	other := w.take("m0", "locksmithd")
	w.steps(Idle, Queued, Queued)
	w.waiting(1)
	w.now = noon.Add(time.Hour)
	w.steps(Closed)
	w.waiting(0)
	w.release(other)
	if idle, err := w.agent.Step(w.Context(), noon.Add(24*time.Hour-time.Millisecond)); err != nil || idle != time.Millisecond {
		w.Errorf("idle %v, %v: the window opens in a millisecond", idle, err)
	}
	w.now = noon.Add(24 * time.Hour)
	w.steps(Queued, Holding)
}

func blockedInQueue(w *world) {
	w.take("m0", "locksmithd")
	w.steps(Idle, Queued, Queued)
	w.machine.blocks = inhibited
	w.steps(Blocked)
	w.why("apt (pid 4)")
	w.waiting(0)
	w.machine.blocks, w.machine.wanted = nil, nil
	w.steps(Idle)
}

func cannotTellInQueue(w *world) {
	w.take("m0", "locksmithd")
	w.steps(Idle, Queued, Queued)
	w.machine.wanted, w.machine.wantErr = nil, errors.New("needrestart has crashed")
	w.steps(Blocked)
	w.why("needrestart has crashed")
	w.waiting(0)
}

func inhibitorWhileHolding(w *world) {
	w.steps(Idle, Queued, Holding)
	w.machine.blocks = inhibited
	w.steps(GivingUp)
	w.phases(slots.Held)
	w.steps(BackingOff)
	w.phases()
	w.history(slots.Released, "apt (pid 4)")
	w.stays()
}

func logindRefuses(w *world) {
	w.machine.refuse = errRefused
	w.toLastMoment()
	w.steps(Rebooting, GivingUp)
	w.phases(slots.Rebooting)
	w.steps(BackingOff)
	w.phases()
	w.history(slots.Released, "logind says no")
	w.steps(BackingOff)
	if w.machine.reboots != 1 {
		w.Errorf("%d reboots were asked for, want 1", w.machine.reboots)
	}
}

func beforeFails(w *world) {
	w.machine.before = errors.New("pods are left")
	w.steps(Idle, Queued, Holding, Draining)
	w.staysUp(BackingOff, "pods are left")
}

func uncertain(w *world) {
	w.machine.refuse = fmt.Errorf("the bus is gone: %w", login1.ErrUncertain)
	w.toLastMoment()
	w.steps(Rebooting, Asked, Asked)
	w.phases(slots.Rebooting)
	w.machine.down, w.now = true, w.now.Add(time.Hour)
	w.steps(Asked) // a shutdown that takes an hour
	w.phases(slots.Rebooting)
	w.machine.down = false
	w.steps(GivingUp, BackingOff)
	w.phases()
	w.history(slots.Released, "the bus is gone")
}

func undrainFails(w *world) {
	w.machine.before, w.machine.after = errors.New("pods are left"), errors.New("uncordon failed")
	w.steps(Idle, Queued, Holding, Draining, GivingUp)
	for range 3 {
		if _, err := w.agent.Step(w.Context(), w.now); !errors.Is(err, w.machine.after) || w.agent.State() != GivingUp {
			w.Fatalf("%s, %v", w.agent.State(), err)
		}
	}
	w.phases(slots.Draining)
	w.machine.after = nil
	w.steps(BackingOff)
	w.phases()
}

func alice(id string) login1.Session {
	return login1.Session{ID: id, User: "alice", Class: "user", State: "active"}
}

func warns(w *world) {
	w.users = blocker.Users{Block: true, Grace: time.Minute}
	w.machine.sessions = []login1.Session{alice("1")}
	w.restart()
	w.steps(Idle, Queued, Holding)
	if len(w.machine.calls) != 0 {
		w.Errorf("%q before it was the machine's turn", w.machine.calls)
	}
	w.steps(Holding, Holding)
	w.why("alice")
	if want := []string{"warn 12:01:00 This machine reboots: a new kernel"}; !slices.Equal(w.machine.calls, want) {
		w.Errorf("%q was done, want %q", w.machine.calls, want)
	}
	w.machine.wanted = nil
	w.steps(GivingUp, Idle)
	if last := w.machine.calls[1]; last != "unwarn" {
		w.Errorf("nobody was told that the reboot is off: %q", w.machine.calls)
	}
	w.machine.wanted = []string{"a newer kernel"}
	w.steps(Queued, Holding, Holding)
	w.now = w.now.Add(time.Minute)
	w.steps(Draining)
}

func usersForEver(w *world) {
	w.users = blocker.Users{Block: true}
	w.restart()
	w.toLastMoment()
	w.machine.sessions = []login1.Session{alice("1")}
	w.staysUp(BackingOff, "alice")
}

func restartWhileHolding(w *world) {
	w.steps(Idle, Queued, Holding)
	fence := w.agent.slot.Fence()
	w.restart()
	w.steps(Holding, Draining, Rebooting, Rebooting, Gone)
	if w.agent.slot.Fence() != fence || w.machine.reboots != 1 {
		w.Errorf("fence %d, then %d; %d reboots", fence, w.agent.slot.Fence(), w.machine.reboots)
	}
}

func restartWhileDraining(w *world) {
	w.steps(Idle, Queued, Holding, Draining)
	w.restart()
	w.steps(Draining)
	w.machine.before = errors.New("pods are left")
	w.staysUp(BackingOff, "pods are left")
}

func restartWhileRebooting(w *world) {
	w.toLastMoment()
	w.restart()
	w.steps(Rebooting, Rebooting)
	w.machine.wanted = nil
	w.agent.looked = false
	w.staysUp(Idle, "no longer wanted")
}

func restartWhileFailed(w *world) {
	returnFails(w)
	w.restart()
	w.steps(Failed, Failed)
	w.machine.sick = ""
	w.steps(Idle)
	w.phases()
}

func crashWhileHolding(w *world) {
	w.steps(Idle, Queued, Holding)
	w.boot()
	w.steps(Verifying, Idle)
	w.phases()
	w.stays()
}

func bootsAgain(w *world) {
	w.toLastMoment()
	w.steps(Rebooting, Gone)
	w.boot()
	w.machine.sick = "no network"
	w.steps(Verifying, Verifying)
	w.phases(slots.Verifying)
	w.boot()
	w.machine.sick = ""
	w.steps(Verifying)
	w.phases(slots.Back)
	w.steps(Idle)
	w.phases()
}

func sickThenWell(w *world) {
	w.health.StableFor, w.health.Deadline = 10*time.Second, time.Minute
	w.toLastMoment()
	w.steps(Rebooting, Gone)
	w.machine.sick = "nginx is not running"
	w.boot()
	w.steps(Verifying, Verifying)
	w.why("nginx is not running")
	w.phases(slots.Verifying)
	w.machine.sick = ""
	w.steps(Verifying)
	w.now = w.now.Add(9 * time.Second)
	w.steps(Verifying)
	w.phases(slots.Verifying)
	w.now = w.now.Add(time.Second)
	w.steps(Idle)
	w.phases()
}

func afterFails(w *world) {
	w.health.Deadline = time.Minute
	w.toLastMoment()
	w.steps(Rebooting, Gone)
	w.machine.after = errors.New("uncordon failed")
	w.boot()
	w.steps(Verifying, Verifying)
	w.why("uncordon failed")
	w.phases(slots.Verifying)
	w.now = w.now.Add(time.Hour)
	w.steps(Failed)
	w.machine.after = nil
	w.steps(Idle)
	w.phases()
}

// returnFails ends with a machine that has failed.
func returnFails(w *world) {
	one := 1
	if _, _, err := w.group.ChangePolicy(w.Context(), func(p *slots.Policy) { p.Breaker = &one }); err != nil {
		w.Fatal(err)
	}
	w.health.Deadline = time.Minute
	w.toLastMoment()
	w.steps(Rebooting, Gone)
	w.machine.sick = "nginx is not running"
	w.boot()
	w.steps(Verifying, Verifying)
	w.now = w.now.Add(time.Minute)
	w.steps(Failed, Failed)
	s := w.phases(slots.Verifying)
	if failed := s.Holders[0].Failed; failed != "not healthy 1m0s after the boot: check: nginx is not running" {
		w.Errorf("failed because of %q", failed)
	}
	if s.Pause == nil {
		w.Error("the circuit breaker has not counted it")
	}
}

func unlockedWhileVerifying(w *world) {
	w.toLastMoment()
	w.steps(Rebooting, Gone)
	w.machine.sick = "no network"
	w.boot()
	w.steps(Verifying, Verifying)
	w.release(w.agent.slot)
	w.steps(Idle)
}

func operatorsSlot(w *world) {
	w.machine.wanted = nil
	slot := w.take("m1", slots.TakenByOperator)
	w.steps(Idle)
	w.machine.boot++
	w.restart()
	w.steps(Idle, Idle)
	w.phases(slots.Held)

	w.machine.wanted = []string{"a new kernel"}
	w.steps(Queued, Queued, Queued)
	w.why("locksmithctl holds the slot of this machine: on purpose")
	w.waiting(0)
	w.phases(slots.Held)
	w.stays()
	w.release(slot)
	other := w.take("m0", "locksmithd")
	w.steps(Queued)
	w.waiting(1)
	w.release(other)
	w.take("m1", "fleetlock") // while the agent is in the queue
	w.steps(Queued)
	w.why("fleetlock holds the slot")
	w.waiting(0)
	w.stays()
}

func operatorsReboot(w *world) {
	slot := w.take("m1", slots.TakenByOperator)
	if err := slot.SetPhase(w.Context(), slots.Rebooting, "boot-0", ""); err != nil {
		w.Fatal(err)
	}
	w.steps(Idle) // it is under way
	w.phases(slots.Rebooting)
	w.boot()
	w.steps(Verifying, Idle)
	w.phases()
}

func clonedID(w *world) {
	w.steps(Idle, Queued)
	w.take("m1", "locksmithd")
	w.machine.boot = 7 // the record is of boot-0
	w.restart()
	w.agent.bootID, w.agent.state = "boot-7", Queued
	w.steps(Queued)
	w.why("a machine with this one's id")
	w.phases(slots.Held)
	w.stays()
}

func lostLease(w *world) {
	w.take("m0", "locksmithd")
	w.steps(Idle, Queued, Queued)
	if _, err := w.client.Revoke(w.Context(), w.agent.session.Lease()); err != nil {
		w.Fatal(err)
	}
	w.waiting(0)
	w.now = w.now.Add(time.Second)
	for range 4 { // finds out, begins a session, waits again
		w.agent.Step(w.Context(), w.now)
	}
	w.waiting(1)
	if w.agent.State() != Queued {
		w.Errorf("%s", w.agent.State())
	}
}

func reportsStatus(w *world) {
	status := func() slots.Status {
		if err := w.agent.report(w.Context()); err != nil {
			w.Fatal(err)
		}
		fleet, err := slots.NewFleet(w.client, "test/"+w.Name()).Snapshot(w.Context())
		if err != nil || len(fleet.Groups["web"].Agents) != 1 {
			w.Fatalf("%+v, %v", fleet, err)
		}
		return fleet.Groups["web"].Agents[0]
	}
	w.windows.Windows = []window.Window{{Start: "13:00", Length: time.Hour, Zone: "UTC"}}
	w.restart()
	if s := status(); s.State != "starting" || s.ID != "m1" || s.Zone != "rack-1" {
		w.Errorf("%+v", s)
	}
	w.steps(Idle, Closed)
	if s := status(); s.State != "closed" || s.Wanted != "a new kernel" || !s.Opens.Equal(noon.Add(time.Hour)) || s.BootID != "boot-0" {
		w.Errorf("%+v", s)
	}
	w.now = noon.Add(time.Hour)
	w.machine.blocks = inhibited
	w.steps(Blocked)
	if s := status(); s.State != "blocked" || len(s.Blocked) != 1 || s.Blocked[0] != "inhibitor: apt (pid 4) blocks shutdown" || !s.Since.Equal(w.now) {
		w.Errorf("%+v", s)
	}
	revision := func() int64 {
		s, err := w.group.State(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		return s.Revision
	}
	was := revision()
	w.steps(Blocked)
	status()
	if revision() != was {
		w.Error("a status that had not changed was written")
	}
}

func namesMember(w *world) {
	w.steps(Idle, Queued, Holding)
	if r := w.phases(slots.Held).Holders[0]; r.Member != "store-1" {
		w.Errorf("record: %+v, want the member's name", r)
	}
}

func withoutGroup(w *world) {
	group := w.group
	w.group = nil
	w.machine.sick = "still starting"
	w.restart()
	w.steps(Verifying, Verifying)
	w.machine.sick = ""
	w.steps(Idle)
	w.machine.blocks = inhibited
	w.steps(Blocked)
	w.machine.blocks = nil
	w.steps(Holding, Draining, Rebooting, Rebooting, Gone)
	w.group = group
	w.phases()
	if w.machine.reboots != 1 {
		w.Errorf("%d reboots", w.machine.reboots)
	}
}

func backsOff(w *world) {
	w.machine.refuse = errRefused
	w.toLastMoment()
	w.steps(Rebooting, GivingUp, BackingOff)
	w.now = noon.Add(59 * time.Second)
	if idle, err := w.agent.Step(w.Context(), w.now); err != nil || idle != time.Second {
		w.Errorf("idle %v, %v, want 1s", idle, err)
	}
	w.now = noon.Add(time.Minute)
	w.steps(Idle)
}

func wishOutlives(w *world) {
	w.steps(Idle, Queued, Holding, Draining, Rebooting, Rebooting, Gone)
	w.boot()
	w.machine.wanted = []string{"a new kernel"}
	w.steps(Verifying, Idle, Blocked, Blocked)
	w.why("has rebooted for this")
	w.phases()
	w.machine.wanted = []string{"a newer kernel"}
	w.steps(Queued)
	w.machine.wanted = nil
	w.steps(Idle)
	w.machine.wanted = []string{"a new kernel"}
	w.steps(Queued)
}
