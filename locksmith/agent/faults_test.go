package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/slots"
)

// TestFaultIsShown: an agent that cannot ask its triggers would look like that of a
// machine which wants nothing.
func TestFaultIsShown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.machine.wanted, w.machine.wantErr = nil, errors.New("needrestart is broken")
		w.steps(Idle)
		shown := func() string {
			if err := w.agent.report(t.Context()); err != nil {
				t.Fatal(err)
			}
			resp, err := w.client.Get(t.Context(), "test/"+t.Name()+"/agents/web/m1")
			if err != nil || len(resp.Kvs) != 1 {
				t.Fatalf("%v, %v", resp, err)
			}
			s, err := slots.DecodeStatus(resp.Kvs[0])
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(s.Blocked, "; ")
		}
		if _, err := w.agent.Step(t.Context(), w.now); err == nil {
			t.Fatal("no error")
		}
		if got := shown(); !strings.Contains(got, "tries again: needrestart is broken") {
			t.Errorf("%q", got)
		}
		w.machine.wantErr = nil
		w.steps(Idle)
		if got := shown(); got != "" {
			t.Errorf("%q, and nothing is wrong any more", got)
		}
	})
}

// TestFaultIsLoggedOnce: what lasts for hours must not fill the journal.
func TestFaultIsLoggedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		var out bytes.Buffer
		w.agent.config.Log = slog.New(slog.NewTextHandler(&out, nil))
		w.machine.wanted = nil
		asked, ctx := 0, t.Context()
		ctx, cancel := context.WithCancel(ctx)
		w.machine.onWanted = func() {
			switch asked++; asked {
			case 1, 2:
				w.machine.wantErr = errors.New("broken thus")
			case 3:
				w.machine.wantErr = errors.New("broken otherwise")
			default:
				cancel()
			}
		}
		w.agent.Run(ctx)
		if n := strings.Count(out.String(), "will try again"); n != 2 {
			t.Errorf("told %d times of two faults: %s", n, &out)
		}
	})
}

// TestDoubtIsLogged: a trigger that is broken beside one that wants the reboot.
func TestDoubtIsLogged(t *testing.T) {
	inWorld(t, func(w *world) {
		var out bytes.Buffer
		w.agent.config.Log = slog.New(slog.NewTextHandler(&out, nil))
		w.machine.wantErr = errors.New("needrestart is broken")
		w.steps(Idle, Queued, Holding, Draining)
		if n := strings.Count(out.String(), "needrestart is broken"); n != 1 {
			t.Errorf("told %d times: %s", n, &out)
		}
	})
}

// TestSomeOfTheWishOutlives: the boot removes the file in /run, and the command that
// wants the reboot as well goes on to. Nor does it matter that one cannot be asked for a while.
func TestSomeOfTheWishOutlives(t *testing.T) {
	inWorld(t, func(w *world) {
		w.machine.wanted = []string{"file: linux; libc", "command: it says so"}
		w.steps(Idle, Queued, Holding, Draining, Rebooting, Rebooting, Gone)
		w.boot()
		w.machine.wanted = []string{"command: it says so"}
		w.steps(Verifying, Idle, Blocked)
		w.why("has rebooted for this")
		w.machine.wanted = []string{"file: linux; libc"}
		w.steps(Blocked)
		w.machine.wanted = []string{"file: linux", "command: it says so and more"}
		w.steps(Queued)
	})
}

// TestWarningIsOfATimeToCome: the blockers take their time, and those who are logged
// in have all of theirs after it.
func TestWarningIsOfATimeToCome(t *testing.T) {
	inWorld(t, func(w *world) {
		w.users = blocker.Users{Block: true, Grace: time.Minute}
		w.restart()
		w.machine.sessions = []login1.Session{{ID: "1", User: "ann", Class: "user"}}
		w.steps(Idle, Queued, Holding)
		const long = time.Second
		w.machine.onWanted = func() { time.Sleep(long) } // stands for a slow blocker
		w.steps(Holding)
		if !w.agent.grace.Warned() {
			t.Fatal("nobody was warned")
		}
		notice := w.agent.grace.Observe(w.now, w.machine.sessions)
		if left := notice.Until.Sub(w.now); left < time.Minute+long {
			t.Errorf("%v from before the look, which took %v, until the reboot; they have a minute", left, long)
		}
	})
}

// TestLongestHoldsEachStep: each call of the machine and of the store that a step
// makes may take all of its time, and the watchdog must bear it.
func TestLongestHoldsEachStep(t *testing.T) {
	a := &Agent{config: Config{Longest: time.Hour}}
	for state, want := range map[State]time.Duration{
		Holding:   2*lookTimeout + 3*storeTimeout, // the look, people; the phase, lease and status
		Queued:    2*lookTimeout + 7*storeTimeout, // the look, the member; find, lease, enter, acquire, leave or count, lease and status
		Rebooting: max(2*lookTimeout, storeTimeout+time.Hour) + 2*storeTimeout,
		Verifying: lookTimeout + time.Hour + 4*storeTimeout,
		GivingUp:  lookTimeout + time.Hour + 4*storeTimeout,
	} {
		if a.state = state; a.longest() < want {
			t.Errorf("%s may take %v, and promises to take %v", state, want, a.longest())
		}
	}
}

// TestWishOutlivesWithoutRecord: a machine whose kernel stays the old one, whatever it
// boots, must not reboot for ever; nor where the slot was given on while it was down.
func TestWishOutlivesWithoutRecord(t *testing.T) {
	t.Run("no slot", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.group, w.memory = nil, filepath.Join(t.TempDir(), "last-reboot")
			w.restart()
			w.steps(Verifying, Idle, Holding, Draining, Rebooting, Rebooting, Gone)
			w.boot()
			w.machine.wanted = []string{"a new kernel"}
			w.steps(Verifying, Idle, Blocked)
			w.why("has rebooted for this")
			w.restart() // by hand
			w.steps(Verifying, Idle, Holding)
		})
	})
	t.Run("slot given on", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.memory = filepath.Join(t.TempDir(), "last-reboot")
			w.restart()
			w.steps(Idle, Queued, Holding)
			w.machine.wanted = []string{"a newer kernel"} // than the record says
			w.steps(Draining, Rebooting, Rebooting, Gone)
			slot, _, err := w.group.Find(t.Context(), "m1")
			if err != nil {
				t.Fatal(err)
			}
			w.release(slot)
			w.boot()
			w.machine.wanted = []string{"a newer kernel"}
			w.steps(Idle, Blocked)
			w.why("has rebooted for this")
		})
	})
	t.Run("no reboot", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.memory = filepath.Join(t.TempDir(), "last-reboot")
			w.machine.refuse = errRefused
			w.restart()
			w.steps(Idle, Queued, Holding, Draining, Rebooting, Rebooting, GivingUp, BackingOff)
			w.restart()
			w.steps(Idle, Queued)
		})
	})
}

// TestGivesNoSlotBackOnTheWayDown: somebody else shuts the machine down while it gives up.
func TestGivesNoSlotBackOnTheWayDown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.leadTo(GivingUp)
		w.machine.down = true
		if _, err := w.agent.Step(t.Context(), w.now); err == nil || !strings.Contains(err.Error(), "under way") {
			t.Errorf("%v", err)
		}
		w.phases(slots.Rebooting)
		w.machine.down = false
		w.steps(BackingOff)
		w.phases()
	})
}
