package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/locksmith/slots"
)

// simulated is a machine whose reboot is a word.
type simulated struct {
	boot    string
	wanted  func() bool
	refuse  error // what Reboot answers
	reboots int
}

func (m *simulated) BootID() (string, error) { return m.boot, nil }
func (m *simulated) Wanted() (bool, error)   { return m.wanted(), nil }
func (m *simulated) Reboot(context.Context) error {
	m.reboots++
	return m.refuse
}

func always() bool { return true }
func never() bool  { return false }

var noon = time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)

type world struct {
	*testing.T
	group   *slots.Group
	machine *simulated
	agent   *Agent
}

// restart replaces the agent by a new one, as a boot or a restart of it does.
func (w *world) restart() {
	w.Helper()
	a, err := New(Config{
		Group: w.group, Machine: w.machine, ID: "m1", Hostname: "one", Reason: "a new kernel",
		Poll: time.Second, BackOff: time.Minute, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.Fatal(err)
	}
	w.agent = a
}

// steps demands the states that the next steps lead to.
func (w *world) steps(want ...State) {
	w.Helper()
	for _, s := range want {
		if _, err := w.agent.Step(w.Context(), noon); err != nil || w.agent.State() != s {
			w.Fatalf("step to %s: %s, %v", s, w.agent.State(), err)
		}
	}
}

// holders demands the phases of the group's records, by rising id.
func (w *world) holders(want ...slots.Phase) *slots.State {
	w.Helper()
	s, err := w.group.State(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	var got []slots.Phase
	for _, r := range s.Holders {
		got = append(got, r.Phase)
	}
	if !slices.Equal(got, want) {
		w.Fatalf("holders %+v, want phases %v", s.Holders, want)
	}
	return s
}

func (w *world) take(id, takenBy string) *slots.Slot {
	w.Helper()
	s, err := w.group.Acquire(w.Context(), slots.Record{ID: id, BootID: "boot-1", TakenBy: takenBy})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) release(s *slots.Slot) {
	w.Helper()
	if err := s.Release(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func TestAgent(t *testing.T) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{coorddtest.Start(t)}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	for name, test := range map[string]func(*world){
		"reboots and comes back":                            testReboot,
		"waits for its turn":                                testWaits,
		"carries on after a restart of the agent":           testRestart,
		"looks again in the last moment":                    testLastLook,
		"does not reboot without its slot":                  testLostSlot,
		"gives the slot back when the reboot fails":         testRebootFails,
		"tells a crash while it held a slot from a restart": testCrash,
		"checks again when it boots once more":              testBootsAgain,
		"leaves an operator's slot alone":                   testOperator,
		"runs until the reboot is under way":                testRun,
	} {
		t.Run(name, func(t *testing.T) {
			g, err := slots.NewGroup(client, slots.DefaultPrefix, t.Name())
			if err != nil {
				t.Fatal(err)
			}
			w := &world{T: t, group: g, machine: &simulated{boot: "boot-1", wanted: always}}
			w.restart()
			test(w)
		})
	}
}

func testReboot(w *world) {
	w.steps(Idle, Waiting, Holding)
	r := w.holders(slots.Held).Holders[0]
	if r.ID != "m1" || r.Hostname != "one" || r.BootID != "boot-1" || r.Reason != "a new kernel" || r.TakenBy != "locksmithd" || !r.Since.Equal(noon) {
		w.Errorf("record: %+v", r)
	}
	w.steps(Rebooting)
	w.holders(slots.Rebooting)
	if w.machine.reboots != 0 {
		w.Fatal("the machine went down before its record said so")
	}
	w.steps(Gone)
	w.holders(slots.Rebooting)

	w.machine.boot, w.machine.wanted = "boot-2", never
	w.restart()
	w.steps(Verifying)
	if r := w.holders(slots.Back).Holders[0]; r.BootID != "boot-2" {
		w.Errorf("record: %+v, want the new boot", r)
	}
	w.steps(Idle)
	w.holders()
	if w.machine.reboots != 1 {
		w.Errorf("%d reboots, want 1", w.machine.reboots)
	}
}

func testWaits(w *world) {
	other := w.take("m0", "locksmithd")
	w.steps(Idle, Waiting, Waiting, Waiting)
	w.release(other)
	w.steps(Holding)

	w.take("m1", "locksmithd") // has it already: nothing changes
	w.holders(slots.Held)
}

func testRestart(w *world) {
	w.steps(Idle, Waiting, Holding)
	fence := w.agent.slot.Fence()
	w.restart()
	w.steps(Holding, Rebooting)
	w.restart() // between the record and the reboot
	w.steps(Holding, Rebooting, Gone)
	if w.agent.slot.Fence() != fence || w.machine.reboots != 1 {
		w.Errorf("fence %d, then %d; %d reboots", fence, w.agent.slot.Fence(), w.machine.reboots)
	}
}

func testLastLook(w *world) {
	w.steps(Idle, Waiting, Holding)
	w.machine.wanted = never
	w.steps(GivingUp, Idle)
	w.holders()

	w.machine.wanted = always
	w.steps(Waiting, Holding, Rebooting)
	w.machine.wanted = never
	w.steps(GivingUp, Idle)
	w.holders()
	if w.machine.reboots != 0 {
		w.Error("the machine rebooted though nobody wanted it any more")
	}
}

func testLostSlot(w *world) {
	w.steps(Idle, Waiting, Holding)
	w.release(w.agent.slot)
	other := w.take("m0", "locksmithd")
	w.steps(Waiting, Waiting)
	w.release(other)

	w.steps(Holding, Rebooting)
	w.release(w.agent.slot)
	w.take("m1", "locksmithd") // the same machine, another fence
	w.steps(Waiting)
	if w.machine.reboots != 0 {
		w.Error("the machine rebooted without its slot")
	}
}

func testRebootFails(w *world) {
	w.machine.refuse = errors.New("an inhibitor is active")
	w.steps(Idle, Waiting, Holding, Rebooting, GivingUp)
	w.holders(slots.Rebooting)
	slot := w.agent.slot
	w.steps(BackingOff, BackingOff)
	w.holders()
	if _, err := slot.Verify(w.Context()); !errors.Is(err, slots.ErrNotHeld) {
		w.Errorf("verify: %v", err)
	}
	if idle, err := w.agent.Step(w.Context(), noon.Add(59*time.Second)); err != nil || idle != time.Second {
		w.Errorf("idle %v, %v, want 1s", idle, err)
	}
	if _, err := w.agent.Step(w.Context(), noon.Add(time.Minute)); err != nil || w.agent.State() != Idle {
		w.Errorf("after the back-off: %s, %v", w.agent.State(), err)
	}
}

func testCrash(w *world) {
	w.steps(Idle, Waiting, Holding)
	w.machine.boot, w.machine.wanted = "boot-2", never
	w.restart()
	w.steps(Verifying, Idle)
	w.holders()
}

func testBootsAgain(w *world) {
	w.steps(Idle, Waiting, Holding, Rebooting, Gone)
	w.machine.boot, w.machine.wanted = "boot-2", never
	w.restart()
	w.steps(Verifying)
	w.machine.boot = "boot-3"
	w.restart()
	w.steps(Verifying, Idle)
	w.holders()
}

func testOperator(w *world) {
	w.machine.wanted = never
	w.take("m1", "locksmithctl")
	w.steps(Idle)
	w.machine.boot = "boot-2"
	w.restart()
	w.steps(Idle, Idle)
	w.holders(slots.Held)

	w.machine.wanted = always
	w.steps(Waiting, Holding, Rebooting, Gone)
	w.machine.boot, w.machine.wanted = "boot-3", never
	w.restart()
	w.steps(Verifying, Idle)
	w.holders()
}

// testRun has nothing but the watch to wake the agent before its next look.
func testRun(w *world) {
	w.agent.config.Poll = time.Hour
	other := w.take("m0", "locksmithd")
	asked := make(chan struct{}, 100)
	w.machine.wanted = func() bool { asked <- struct{}{}; return true }
	ended := make(chan struct{})
	go func() { w.agent.Run(w.Context()); close(ended) }()
	<-asked
	<-asked // in Waiting
	w.release(other)
	<-ended
	if w.agent.State() != Gone || w.machine.reboots != 1 {
		w.Errorf("%s after %d reboots", w.agent.State(), w.machine.reboots)
	}
}

func TestTransitions(t *testing.T) {
	for s := Starting; s <= Gone; s++ {
		next, ok := transitions[s]
		if !ok || strings.HasPrefix(s.String(), "state ") {
			t.Errorf("%s is missing in a table", s)
		}
		if s != Gone && len(next) == 0 {
			t.Errorf("%s has no way out", s)
		}
	}
	a := &Agent{config: Config{Log: slog.New(slog.DiscardHandler)}}
	defer func() {
		if recover() == nil {
			t.Error("the agent went from starting to gone")
		}
	}()
	a.become(Gone)
}
