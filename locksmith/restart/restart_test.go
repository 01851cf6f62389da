package restart

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/locksmith/slots"
	"github.com/coordd/coordd/recipes/coordtest"
)

const unit = "web.service"

// fake is a service manager. Its fields may be changed between calls.
type fake struct {
	restart func(context.Context) error
	after   []Status // what Status returns after a restart, the last one for ever
	mu      sync.Mutex
	looks   int // since the restart
	began   int // restarts
}

var well = Status{Load: "loaded", Active: "active", Sub: "running", Result: "success", Invocation: "1"}

func (f *fake) Restart(ctx context.Context, name string) error {
	f.mu.Lock()
	f.began++
	f.mu.Unlock()
	if name != unit {
		return fmt.Errorf("restart of %s", name)
	}
	if f.restart == nil {
		return nil
	}
	return f.restart(ctx)
}

func (f *fake) Status(context.Context, string) (Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.began == 0 || len(f.after) == 0 {
		return well, nil
	}
	f.looks++
	return f.after[min(f.looks, len(f.after))-1], nil
}

// fleet is machines that share the slots of a unit.
type fleet struct {
	t      *testing.T
	server *coordtest.Server
}

// config is of the restart on one machine, which has a client and a lock directory of its own.
func (f *fleet) config(id string) Config {
	f.t.Helper()
	client := f.server.NewClient(f.t).Client
	g, err := slots.NewGroup(client, slots.DefaultPrefix, GroupOf(unit))
	if err != nil {
		f.t.Fatal(err)
	}
	return Config{
		Client: client, Group: g, Unit: unit, ID: id, Hostname: "host-" + id, BootID: "boot", LockDir: f.t.TempDir(),
		Wait: time.Hour, StableFor: 10 * time.Second, Deadline: 10 * time.Minute,
	}
}

// record is the record of the only holder, and "" of none.
func (f *fleet) record(c Config) slots.Record {
	f.t.Helper()
	s, err := c.Group.State(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	if len(s.Holders) > 1 {
		f.t.Fatalf("%d holders: %+v", len(s.Holders), s.Holders)
	}
	if len(s.Holders) == 0 {
		return slots.Record{}
	}
	return s.Holders[0]
}

func (f *fleet) free(c Config) {
	f.t.Helper()
	if r := f.record(c); r.ID != "" {
		f.t.Fatalf("a slot is held: %+v", r)
	}
}

// kept asserts that machine c has its slot, and that the record says why.
func (f *fleet) kept(c Config, why string) {
	f.t.Helper()
	if r := f.record(c); r.ID != c.ID || !strings.Contains(r.Failed, why) {
		f.t.Fatalf("record %+v, want one of %s with %q", r, c.ID, why)
	}
}

// isKept asserts that err is a KeptError with the words.
func isKept(t *testing.T, err error, words string) {
	t.Helper()
	if kept, ok := errors.AsType[*KeptError](err); !ok || !strings.Contains(kept.Error(), words) {
		t.Fatalf("%v, want a KeptError with %q", err, words)
	}
}

// TestRun runs each life in a bubble, so that no wait takes time.
func TestRun(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *fleet){
		"one after another":                        testOneAfterAnother,
		"first come, first served":                 testInTurn,
		"one ahead that is gone":                   testGoneAhead,
		"a failure stops the others":               testFailureStops,
		"the next restart takes a kept slot over":  testTakeOver,
		"a unit that does not stay active":         testNotStable,
		"a check that passes at last":              testCheckPasses,
		"a check that never passes":                testCheckFails,
		"given up while waiting":                   testGivenUp,
		"a pause is waited for":                    testPaused,
		"given up with a slot that was kept":       testGivenUpTakeOver,
		"interrupted in the middle":                testInterrupted,
		"a restart without end":                    testDeadline,
		"what was killed while it waited":          testReleaseWaiting,
		"what was killed before":                   testReleaseHeld,
		"what was killed in the middle":            testReleaseUnderWay,
		"what is not a restart's stays":            testReleaseOthers,
		"a unit that is not there":                 testNotFound,
		"a slot taken by hand":                     testByHand,
		"a slot taken away":                        testTakenAway,
		"two units of a group on one machine":      testSameMachine,
		"answers that are lost":                    testLostAnswers,
		"a store that does not answer at the end":  testStoreGone,
		"a store that does not answer before that": testStoreSilent,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, &fleet{t, coordtest.Start(t)}) })
		})
	}
}

func testOneAfterAnother(t *testing.T, f *fleet) {
	var mu sync.Mutex
	down, most := 0, 0
	systemd := func() *fake {
		return &fake{restart: func(context.Context) error {
			mu.Lock()
			down++
			most = max(most, down)
			mu.Unlock()
			time.Sleep(time.Minute)
			mu.Lock()
			down--
			mu.Unlock()
			return nil
		}}
	}
	begin := time.Now()
	var running sync.WaitGroup
	for i := range 5 {
		c := f.config(fmt.Sprint("m", i))
		running.Go(func() {
			if err := Run(t.Context(), c, systemd()); err != nil {
				t.Errorf("%s: %v", c.ID, err)
			}
		})
	}
	running.Wait()
	if took := time.Since(begin); most != 1 || took < 5*(time.Minute+10*time.Second) {
		t.Errorf("%d units were down at once; the whole took %v", most, took)
	}
	f.free(f.config("m0"))
}

// wait begins a restart that has to wait, and returns when it does.
func (f *fleet) wait(c Config, running *sync.WaitGroup, done func(error)) {
	f.t.Helper()
	waits := make(chan string, 100)
	c.Report = func(line string) { waits <- line }
	running.Go(func() { done(Run(f.t.Context(), c, &fake{})) })
	if line := <-waits; !strings.HasPrefix(line, "waits: ") {
		f.t.Errorf("%s: %q, want that it waits", c.ID, line)
	}
}

func testInTurn(t *testing.T, f *fleet) {
	holder := f.config("holder")
	slot := f.hold(holder)
	var mu sync.Mutex
	var order []string
	var running sync.WaitGroup
	want := []string{"c", "a", "d", "b"}
	for _, id := range want {
		f.wait(f.config(id), &running, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if order = append(order, id); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	if err := slot.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	running.Wait()
	if !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
}

// A place in the queue lasts no longer than whoever has it, and a little.
func testGoneAhead(t *testing.T, f *fleet) {
	slot := f.hold(f.config("holder"))
	gone, client := f.config("gone"), f.server.NewClient(t)
	g, err := slots.NewGroup(client.Client, slots.DefaultPrefix, gone.Group.Name())
	if err != nil {
		t.Fatal(err)
	}
	gone.Client, gone.Group = client.Client, g
	var running sync.WaitGroup
	f.wait(gone, &running, func(error) {})
	f.wait(f.config("next"), &running, func(err error) {
		if err != nil {
			t.Errorf("next: %v", err)
		}
		client.Heal()
	})
	client.Partition()
	if err := slot.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	running.Wait()
	if took := time.Since(begin); took > 2*time.Minute {
		t.Errorf("the next one had to wait for %v", took)
	}
}

func testFailureStops(t *testing.T, f *fleet) {
	bad, next := f.config("bad"), f.config("next")
	systemd := &fake{
		restart: func(context.Context) error { return errors.New("restart of web.service: failed") },
		after:   []Status{{Load: "loaded", Active: "failed", Result: "exit-code", ExitStatus: 3}},
	}
	isKept(t, Run(t.Context(), bad, systemd), "restart of web.service: failed; the unit is failed, exit-code, status 3; bad keeps its slot")
	f.kept(bad, "exit-code, status 3")

	var said []string
	next.Report = func(line string) { said = append(said, line) }
	other := &fake{}
	err := Run(t.Context(), next, other)
	late, ok := errors.AsType[*NotItsTurnError](err)
	if !ok || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(late.Error(), "host-bad holds the slot: restart of web.service: failed") {
		t.Errorf("%v, want a NotItsTurnError that names the holder", err)
	}
	if len(said) != 1 || !strings.Contains(said[0], "host-bad holds the slot: restart of web.service: failed") {
		t.Errorf("said while it waited: %q", said)
	}
	if other.began != 0 {
		t.Error("it has restarted its unit all the same")
	}
	f.kept(bad, "exit-code")
}

func testTakeOver(t *testing.T, f *fleet) {
	c := f.config("m")
	isKept(t, Run(t.Context(), c, &fake{restart: func(context.Context) error { return errors.New("bad") }}), "bad")
	fence := f.record(c).Fence
	again := &fake{restart: func(context.Context) error {
		if r := f.record(c); r.Fence != fence {
			t.Errorf("the slot was free in between: %+v", r)
		}
		return nil
	}}
	if err := Run(t.Context(), c, again); err != nil {
		t.Fatal(err)
	}
	f.free(c)
}

func testNotStable(t *testing.T, f *fleet) {
	c := f.config("m")
	anew := well
	anew.Invocation = "2"
	for words, after := range map[string][]Status{
		"was started anew":                       {well, well, anew},
		"failed, signal, status 11":              {well, {Load: "loaded", Active: "failed", Sub: "failed", Result: "signal", ExitStatus: 11}},
		"activating (auto-restart), exit-code":   {{Load: "loaded", Active: "activating", Sub: "auto-restart", Result: "exit-code"}},
		"did not stay active: it is inactive (d": {{Load: "loaded", Active: "inactive", Sub: "dead", Result: "success"}},
	} {
		isKept(t, Run(t.Context(), c, &fake{after: after}), words)
		f.kept(c, words)
	}
	if err := Run(t.Context(), c, &fake{after: []Status{{Load: "loaded", Active: "inactive", Result: "success", OneShot: true}}}); err != nil {
		t.Errorf("a oneshot unit that has done its work: %v", err)
	}
	f.free(c)
}

func testCheckPasses(t *testing.T, f *fleet) {
	c := f.config("m")
	done := c.LockDir + "/done"
	// The first call makes the file and fails, the second one finds it.
	c.Check = []string{"sh", "-c", "test -e " + done + " || { touch " + done + "; exit 1; }"}
	if err := Run(t.Context(), c, &fake{}); err != nil {
		t.Fatal(err)
	}
	f.free(c)
}

func testCheckFails(t *testing.T, f *fleet) {
	c := f.config("m")
	c.Deadline, c.Check = 12*time.Second, []string{"sh", "-c", "echo no page; exit 7"}
	isKept(t, Run(t.Context(), c, &fake{}), `did not pass: exit status 7: "no page"`)
	f.kept(c, "no page")
}

func testGivenUp(t *testing.T, f *fleet) {
	holder, c := f.config("holder"), f.config("m")
	isKept(t, Run(t.Context(), holder, &fake{restart: func(context.Context) error { return errors.New("bad") }}), "bad")
	ctx, cancel := context.WithCancel(t.Context())
	c.Report = func(string) { cancel() }
	err := Run(ctx, c, &fake{})
	if late, ok := errors.AsType[*NotItsTurnError](err); !ok || !errors.Is(late, context.Canceled) {
		t.Errorf("%v, want a NotItsTurnError", err)
	}
	f.kept(holder, "bad")
}

// A retry that cannot be begun does not free what the failure before it keeps.
func testGivenUpTakeOver(t *testing.T, f *fleet) {
	c := f.config("m")
	isKept(t, Run(t.Context(), c, &fake{restart: func(context.Context) error { return errors.New("bad") }}), "bad")
	ctx, cancel := context.WithCancel(t.Context())
	slot, before, err := c.awaitTurn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	isKept(t, c.begin(ctx, slot, before, &fake{}), "before that: bad")
	f.kept(c, "bad")
}

func testInterrupted(t *testing.T, f *fleet) {
	c := f.config("m")
	ctx, cancel := context.WithCancel(t.Context())
	systemd := &fake{restart: func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}}
	isKept(t, Run(ctx, c, systemd), "interrupted before web.service was known to be well")
	f.kept(c, "interrupted")
}

func testDeadline(t *testing.T, f *fleet) {
	c := f.config("m")
	isKept(t, Run(t.Context(), c, &fake{restart: func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("the job had not ended: %w", ctx.Err())
	}}), "the job had not ended")
	f.kept(c, "the job had not ended")
}

// hold takes a slot as Run does and stops there, as a process does that is killed.
func (f *fleet) hold(c Config) *slots.Slot {
	f.t.Helper()
	slot, _, err := c.awaitTurn(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return slot
}

func testPaused(t *testing.T, f *fleet) {
	c := f.config("m")
	if err := c.Group.Pause(t.Context(), slots.Pause{By: "ann", Reason: "a storm"}); err != nil {
		t.Fatal(err)
	}
	var said []string
	c.Report = func(line string) {
		said = append(said, line)
		if err := c.Group.Resume(t.Context(), "ann", time.Now()); err != nil {
			t.Error(err)
		}
	}
	f.hold(c)
	if len(said) != 1 || !strings.Contains(said[0], "paused by ann") || !strings.Contains(said[0], "a storm") {
		t.Errorf("said %q", said)
	}
}

func testReleaseHeld(t *testing.T, f *fleet) {
	c := f.config("m")
	f.hold(c)
	for range 2 {
		if kept, err := Release(t.Context(), c); kept != "" || err != nil {
			t.Errorf("%q, %v", kept, err)
		}
		f.free(c)
	}
}

// A place in the queue does not outlast the unit whose process was killed.
func testReleaseWaiting(t *testing.T, f *fleet) {
	slot := f.hold(f.config("holder"))
	c := f.config("m")
	lease, err := c.Client.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Group.Enqueue(t.Context(), lease.ID, c.want()); err != nil {
		t.Fatal(err)
	}
	if kept, err := Release(t.Context(), c); kept != "" || err != nil {
		t.Errorf("%q, %v", kept, err)
	}
	if err := slot.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	f.hold(f.config("next"))
	if took := time.Since(begin); took > lookAgain {
		t.Errorf("the next one had to wait for %v", took)
	}
}

func testReleaseUnderWay(t *testing.T, f *fleet) {
	c := f.config("m")
	if err := f.hold(c).SetPhase(t.Context(), slots.Rebooting, "boot", c.underWay()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"the restart of web.service was killed before the unit was known to be well", ""} {
		if kept, err := Release(t.Context(), c); kept != want || err != nil {
			t.Errorf("%q, %v, want %q", kept, err, want)
		}
		f.kept(c, "was killed before")
	}
}

func testReleaseOthers(t *testing.T, f *fleet) {
	c := f.config("m")
	slot, err := c.Group.Acquire(t.Context(), slots.Record{ID: "m", TakenBy: "locksmithctl"})
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := Release(t.Context(), c); kept != "" || err != nil {
		t.Errorf("%q, %v", kept, err)
	}
	if _, err := slot.Verify(t.Context()); err != nil {
		t.Errorf("a slot taken by hand: %v", err)
	}
	if err := slot.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Nor what a restart holds that runs.
	lock, err := tryLockMachine(c.LockDir, c.Group.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	slot = f.hold(c)
	if kept, err := Release(t.Context(), c); kept != "" || err != nil {
		t.Errorf("%q, %v", kept, err)
	}
	if _, err := slot.Verify(t.Context()); err != nil {
		t.Errorf("a slot of a restart that runs: %v", err)
	}
}

func testNotFound(t *testing.T, f *fleet) {
	c := f.config("m")
	err := Run(t.Context(), c, &absent{})
	if err == nil || !strings.Contains(err.Error(), "systemd says that it is not-found") {
		t.Errorf("%v", err)
	}
	f.free(c)
}

type absent struct{ fake }

func (*absent) Status(context.Context, string) (Status, error) {
	return Status{Load: "not-found", Active: "inactive"}, nil
}

func testByHand(t *testing.T, f *fleet) {
	c := f.config("m")
	c.Wait = time.Minute
	slot, err := c.Group.Acquire(t.Context(), slots.Record{ID: "m", TakenBy: "locksmithctl"})
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), c, &fake{}); err == nil || !strings.Contains(err.Error(), "m holds the slot: taken by hand") {
		t.Errorf("%v, want that it waits for the slot taken by hand", err)
	}
	if _, err := slot.Verify(t.Context()); err != nil {
		t.Errorf("the slot taken by hand: %v", err)
	}
}

func testTakenAway(t *testing.T, f *fleet) {
	c := f.config("m")
	var said []string
	c.Report = func(line string) { said = append(said, line) }
	unlock := func(context.Context) error {
		slot, _, err := c.Group.Find(t.Context(), "m")
		return errors.Join(err, slot.Release(t.Context()))
	}
	if err := Run(t.Context(), c, &fake{restart: unlock}); err != nil {
		t.Errorf("a unit that is well: %v", err)
	}
	if !slices.Contains(said, "the slot had been taken away") {
		t.Errorf("said: %q", said)
	}
	systemd := &fake{restart: func(ctx context.Context) error { return errors.Join(unlock(ctx), errors.New("bad")) }}
	if err := Run(t.Context(), c, systemd); err == nil || !strings.Contains(err.Error(), "bad; the slot had been taken away") {
		t.Errorf("%v", err)
	}
	f.free(c)
}

func testSameMachine(t *testing.T, f *fleet) {
	one, other := f.config("m"), f.config("m")
	other.LockDir, other.Unit = one.LockDir, "other.service"
	lock, err := tryLockMachine(one.LockDir, one.Group.Name())
	if err != nil {
		t.Fatal(err)
	}
	one.Wait = time.Minute
	if err := Run(t.Context(), one, &fake{}); err == nil || !strings.Contains(err.Error(), "another restart in this group runs on this machine") {
		t.Errorf("%v", err)
	}
	lock.Close()
	f.hold(other) // and is killed; its slot is not for another unit
	if err := Run(t.Context(), one, &fake{}); err == nil || !strings.Contains(err.Error(), "restart of other.service") {
		t.Errorf("%v, want that it waits for the other unit", err)
	}
	if r := f.record(one); !other.isOurs(r) {
		t.Errorf("record %+v", r)
	}
}

// Commits whose answers are lost are found, not repeated.
func testLostAnswers(t *testing.T, f *fleet) {
	c := f.config("m")
	client := f.server.NewClient(t)
	g, err := slots.NewGroup(client.Client, slots.DefaultPrefix, c.Group.Name())
	if err != nil {
		t.Fatal(err)
	}
	c.Client, c.Group = client.Client, g
	systemd := &fake{restart: func(context.Context) error { client.DropReplies(2, coordtest.BreakConnection); return nil }}
	client.DropReplies(3, coordtest.BreakConnection)
	if err := Run(t.Context(), c, systemd); err != nil {
		t.Fatal(err)
	}
	if systemd.began != 1 {
		t.Errorf("%d restarts", systemd.began)
	}
	f.free(f.config("m"))
}

func testStoreGone(t *testing.T, f *fleet) {
	c := f.config("m")
	client := f.server.NewClient(t)
	g, err := slots.NewGroup(client.Client, slots.DefaultPrefix, c.Group.Name())
	if err != nil {
		t.Fatal(err)
	}
	c.Client, c.Group = client.Client, g
	isKept(t, Run(t.Context(), c, &fake{restart: func(context.Context) error { client.Partition(); return nil }}), "the slot was not given back")
	if r := f.record(f.config("m")); r.Note != c.underWay() {
		t.Errorf("record %+v", r)
	}
}

func testStoreSilent(t *testing.T, f *fleet) {
	c := f.config("m")
	client := f.server.NewClient(t)
	client.Partition()
	g, err := slots.NewGroup(client.Client, slots.DefaultPrefix, c.Group.Name())
	if err != nil {
		t.Fatal(err)
	}
	c.Client, c.Group = client.Client, g
	systemd := &fake{}
	err = Run(t.Context(), c, systemd)
	if _, ok := errors.AsType[*NotItsTurnError](err); !ok || !strings.Contains(err.Error(), "the store has not answered") || systemd.began != 0 {
		t.Errorf("%v after %d restarts", err, systemd.began)
	}
}
