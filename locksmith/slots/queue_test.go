package slots

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func newLease(t *testing.T, c *clientv3.Client) clientv3.LeaseID {
	t.Helper()
	granted, err := c.Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	return granted.ID
}

func enqueue(t *testing.T, g *Group, want Record) Record {
	t.Helper()
	if err := g.Enqueue(t.Context(), newLease(t, g.client), want); err != nil {
		t.Fatal(err)
	}
	return want
}

// turn demands the outcome of an attempt: "" for a grant.
func turn(t *testing.T, g *Group, want Record, now time.Time, refusal Refusal) *Slot {
	t.Helper()
	s, err := g.AcquireInTurn(t.Context(), want, now)
	refused, ok := errors.AsType[*RefusedError](err)
	if refusal == "" && err != nil || refusal != "" && (!ok || refused.Kind != refusal) {
		t.Fatalf("%s: %v, want %q", want.ID, err, refusal)
	}
	return s
}

func release(t *testing.T, s *Slot) {
	t.Helper()
	if err := s.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestQueue(t *testing.T) { onEachStore(t, testQueueOn) }

func testQueueOn(t *testing.T, endpoint string) {
	client := newClient(t, endpoint)
	for name, test := range map[string]func(*testing.T, *Group){
		"goes by stage, priority and arrival":        testOrder,
		"keeps a place through a new lease":          testPlace,
		"who is not in it gets no slot":              testNotQueued,
		"who is alone behind many is not read":       testManyAhead,
		"a dead machine is released after its time":  testReleaseAfter,
		"an absent machine is released, others not":  testReleaseIfAbsent,
		"failed machines and operators keep slots":   testKept,
		"the breaker pauses, and resume forgets":     testBreaker,
		"a good return lets the next stage follow":   testReturned,
		"pause and resume":                           testPause,
		"the history tells, and is bounded":          testHistory,
		"a snapshot shows the fleet":                 testSnapshot,
		"a group and the cluster limit concurrently": testClusterLimit,
	} {
		t.Run(name, func(t *testing.T) { test(t, newGroupAlone(t, client)) })
	}
}

// newGroupAlone is a group in a fleet of its own.
func newGroupAlone(t *testing.T, c *clientv3.Client) *Group {
	t.Helper()
	g, err := NewGroup(c, "test/"+t.Name(), "g/1")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func testOrder(t *testing.T, g *Group) {
	want := []Record{
		{ID: "canary"}, {ID: "urgent", Stage: 1, Priority: 5}, {ID: "first", Stage: 1}, {ID: "second", Stage: 1},
	}
	for _, i := range []int{2, 1, 3, 0} {
		enqueue(t, g, want[i])
	}
	for i, r := range want {
		for _, later := range want[i+1:] {
			refusal := RefusedQueue
			if later.Stage > r.Stage {
				refusal = RefusedStage
			}
			turn(t, g, later, noon, refusal)
		}
		release(t, turn(t, g, r, noon, ""))
	}
}

func testPlace(t *testing.T, g *Group) {
	first, second := Record{ID: "first"}, Record{ID: "second"}
	enqueue(t, g, first)
	enqueue(t, g, second)
	enqueue(t, g, first)
	turn(t, g, second, noon, RefusedQueue)
	lease := newLease(t, g.client)
	if err := g.Enqueue(t.Context(), lease, first); err != nil {
		t.Fatal(err)
	}
	if _, err := g.client.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	turn(t, g, second, noon, "")
}

func testNotQueued(t *testing.T, g *Group) {
	if _, err := g.AcquireInTurn(t.Context(), Record{ID: "a"}, noon); !errors.Is(err, ErrNotQueued) {
		t.Errorf("never queued: %v", err)
	}
	a := enqueue(t, g, Record{ID: "a"})
	if err := g.Leave(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := g.AcquireInTurn(t.Context(), a, noon); !errors.Is(err, ErrNotQueued) {
		t.Errorf("left: %v", err)
	}
	enqueue(t, g, a)
	s := turn(t, g, a, noon, "")
	if again := turn(t, g, a, noon, ""); again.Fence() != s.Fence() {
		t.Errorf("a repeat after a lost answer: fence %d, then %d", s.Fence(), again.Fence())
	}
	enqueue(t, g, a)
	turn(t, g, a, noon, "")
	if state, err := g.State(t.Context()); err != nil || state.Waiting != 0 || len(state.Holders) != 1 {
		t.Errorf("a holder that was in the queue again: %+v, %v", state, err)
	}
	for _, bad := range []Record{{}, {ID: "a", Stage: -1}, {ID: "a", Stage: MaxStage + 1}, {ID: "a", Priority: MaxPriority + 1}} {
		if err := g.Enqueue(t.Context(), clientv3.NoLease, bad); !errors.Is(err, ErrName) {
			t.Errorf("%+v: %v, want ErrName", bad, err)
		}
	}
}

func testManyAhead(t *testing.T, g *Group) {
	lease := newLease(t, g.client)
	for i := range farAhead + 2 {
		if err := g.Enqueue(t.Context(), lease, Record{ID: fmt.Sprintf("m%03d", i), Zone: "z1"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := g.ChangePolicy(t.Context(), func(p *Policy) { p.Max, p.Zones = at(2), 1 }); err != nil {
		t.Fatal(err)
	}
	acquire(t, g, "h") // of another zone, so that all of z1 are passed
	last := enqueue(t, g, Record{ID: "last"})
	turn(t, g, last, noon, RefusedQueue)
	for i := range 2 {
		if err := g.Leave(t.Context(), Record{ID: fmt.Sprintf("m%03d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	turn(t, g, last, noon, "")
}

// setPolicy replaces the group's policy.
func setPolicy(t *testing.T, g *Group, p Policy) {
	t.Helper()
	if _, _, err := g.ChangePolicy(t.Context(), func(was *Policy) { *was = p }); err != nil {
		t.Fatal(err)
	}
}

func testReleaseAfter(t *testing.T, g *Group) {
	setPolicy(t, g, Policy{DeadHolder: ReleaseAfter, DeadAfterSeconds: 600})
	dead := acquire(t, g, "dead")
	if err := dead.SetPhase(t.Context(), Rebooting, "boot-1", ""); err != nil {
		t.Fatal(err)
	}
	r, err := dead.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := enqueue(t, g, Record{ID: "next"})
	if _, err := g.AcquireInTurn(t.Context(), next, r.PhaseSince.Add(599*time.Second)); !errors.Is(err, ErrFull) {
		t.Fatalf("before the time: %v", err)
	}
	turn(t, g, next, r.PhaseSince.Add(600*time.Second), "")
	if _, err := dead.Verify(t.Context()); !errors.Is(err, ErrNotHeld) {
		t.Errorf("the dead machine: %v", err)
	}
	if st, err := g.Standing(t.Context()); err != nil || st.Failures != 1 {
		t.Errorf("standing %+v, %v, want one failure", st, err)
	}
}

func testReleaseIfAbsent(t *testing.T, g *Group) {
	setPolicy(t, g, Policy{DeadHolder: ReleaseIfAbsent, DeadAfterSeconds: 600})
	if _, err := g.Acquire(t.Context(), Record{ID: "silent", TakenBy: TakenByAgent}); err != nil {
		t.Fatal(err)
	}
	lease := newLease(t, g.client)
	if err := g.Report(t.Context(), lease, Status{ID: "silent", State: "verifying"}); err != nil {
		t.Fatal(err)
	}
	next, later := enqueue(t, g, Record{ID: "next"}), time.Now().Add(time.Hour)
	if _, err := g.AcquireInTurn(t.Context(), next, later); !errors.Is(err, ErrFull) {
		t.Fatalf("its agent is alive: %v", err)
	}
	if _, err := g.client.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	turn(t, g, next, later, "")

	setPolicy(t, g, Policy{Max: at(2), DeadHolder: ReleaseIfAbsent, DeadAfterSeconds: 600})
	if _, err := g.Acquire(t.Context(), Record{ID: "no agent of ours", TakenBy: "fleetlock"}); err != nil {
		t.Fatal(err)
	}
	setPolicy(t, g, Policy{Max: at(1), DeadHolder: ReleaseIfAbsent, DeadAfterSeconds: 600})
	last := enqueue(t, g, Record{ID: "last"})
	if _, err := g.AcquireInTurn(t.Context(), last, later); !errors.Is(err, ErrFull) {
		t.Fatalf("one without an agent: %v", err)
	}
}

func testKept(t *testing.T, g *Group) {
	setPolicy(t, g, Policy{Max: at(2), DeadHolder: ReleaseAfter, DeadAfterSeconds: 1, Breaker: at(0)})
	failed := acquire(t, g, "failed")
	if err := failed.Fail(t.Context(), "nginx.service is not active", noon); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Acquire(t.Context(), Record{ID: "kept", TakenBy: TakenByOperator}); err != nil {
		t.Fatal(err)
	}
	next := enqueue(t, g, Record{ID: "next"})
	if _, err := g.AcquireInTurn(t.Context(), next, time.Now().Add(time.Hour)); !errors.Is(err, ErrFull) {
		t.Fatalf("%v, want full", err)
	}
}

func testBreaker(t *testing.T, g *Group) {
	setPolicy(t, g, Policy{Max: at(5), Breaker: at(2)})
	for i, id := range []string{"a", "b"} {
		s := acquire(t, g, id)
		for range 2 { // the second changes nothing
			if err := s.Fail(t.Context(), "no network", noon); err != nil {
				t.Fatal(err)
			}
		}
		if st, err := g.Standing(t.Context()); err != nil || st.Failures != i+1 || (st.Pause != nil) != (i == 1) {
			t.Fatalf("after %d failures: %+v, %v", i+1, st, err)
		}
	}
	c := enqueue(t, g, Record{ID: "c"})
	turn(t, g, c, noon, RefusedPaused)
	if err := g.Resume(t.Context(), "ann", noon); err != nil {
		t.Fatal(err)
	}
	if st, err := g.Standing(t.Context()); err != nil || st.Failures != 0 || st.Pause != nil {
		t.Errorf("after resume: %+v, %v", st, err)
	}
	turn(t, g, c, noon, "")
}

func testReturned(t *testing.T, g *Group) {
	setPolicy(t, g, Policy{SoakSeconds: 600})
	canary, crowd := enqueue(t, g, Record{ID: "canary"}), enqueue(t, g, Record{ID: "crowd", Stage: 1, Since: noon.Add(-time.Hour)})
	s := turn(t, g, canary, noon, "")
	if err := s.Fail(t.Context(), "slow", noon); err != nil {
		t.Fatal(err)
	}
	for _, p := range []Phase{Rebooting, Back} {
		if err := s.SetPhase(t.Context(), p, "boot-2", ""); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.Verify(t.Context()); err != nil || r.Failed != "" {
		t.Errorf("after another boot: %+v, %v", r, err)
	}
	if err := s.ReleaseReturned(t.Context(), noon); err != nil {
		t.Fatal(err)
	}
	if st, err := g.Standing(t.Context()); err != nil || st.Failures != 0 {
		t.Errorf("after a good return: %+v, %v", st, err)
	}
	turn(t, g, crowd, noon.Add(599*time.Second), RefusedStage)
	turn(t, g, crowd, noon.Add(600*time.Second), "")
}

func testPause(t *testing.T, g *Group) {
	fleet := NewFleet(g.client, g.prefix)
	a := enqueue(t, g, Record{ID: "a"})
	for name, s := range map[string]*scope{"group": &g.scope, "cluster": &fleet.scope} {
		if err := s.Pause(t.Context(), Pause{By: "ann", Reason: "a storm", Since: noon}); err != nil {
			t.Fatal(err)
		}
		turn(t, g, a, noon, RefusedPaused)
		if state, err := g.State(t.Context()); err != nil || state.Pause == nil || state.Pause.Reason != "a storm" || state.Waiting != 1 {
			t.Errorf("%s paused: %+v, %v", name, state, err)
		}
		if err := s.Resume(t.Context(), "ann", noon); err != nil {
			t.Fatal(err)
		}
		events, err := s.History(t.Context(), 10)
		if err != nil || len(events) != 2 || events[0].Kind != Resumed && events[1].Kind != Resumed {
			t.Errorf("history of the %s: %+v, %v", name, events, err)
		}
	}
	turn(t, g, a, noon, "")
}

func testHistory(t *testing.T, g *Group) {
	s := acquire(t, g, "a")
	for _, p := range []Phase{Rebooting, Back, Verifying} {
		if err := s.SetPhase(t.Context(), p, "boot-2", ""); err != nil {
			t.Fatal(err)
		}
	}
	release(t, s)
	if err := acquire(t, g, "b").Unlock(t.Context(), "ann", "it is scrapped", time.Now()); err != nil {
		t.Fatal(err)
	}
	var kinds []Kind
	events, err := g.History(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		kinds = append(kinds, e.Kind)
		if e.Group != g.Name() || e.Revision == 0 {
			t.Errorf("event %+v", e)
		}
	}
	if want := []Kind{Granted, WentDown, CameBack, Released, Granted, Unlocked}; !slices.Equal(kinds, want) {
		t.Fatalf("history %v, want %v", kinds, want)
	}
	if e := events[5]; e.By != "ann" || e.Reason != "it is scrapped" || e.ID != "b" || e.Fence != events[4].Revision {
		t.Errorf("unlocked: %+v", e)
	}
	if last, err := g.History(t.Context(), 2); err != nil || len(last) != 2 || last[1] != events[5] {
		t.Errorf("the last two: %+v, %v", last, err)
	}

	for i := range keptEvents {
		op, err := g.note(Event{Time: noon.Add(time.Duration(i)), Kind: Granted, ID: "old"})
		if err == nil {
			_, err = g.client.Do(t.Context(), op)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	release(t, acquire(t, g, "c"))
	all, err := g.History(t.Context(), 2*keptEvents)
	if err != nil || len(all) != keptEvents || all[keptEvents-1].ID != "c" {
		t.Errorf("%d events are kept, %v, want the newest %d", len(all), err, keptEvents)
	}
}

func testSnapshot(t *testing.T, g *Group) {
	fleet := NewFleet(g.client, g.prefix)
	other, err := fleet.Group("other")
	if err != nil {
		t.Fatal(err)
	}
	acquire(t, other, "o")
	acquire(t, g, "h")
	lease := newLease(t, g.client)
	for i := range snapshotPage + 5 {
		if err := g.Enqueue(t.Context(), lease, Record{ID: fmt.Sprintf("%05d", i), Priority: i % 3}); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Report(t.Context(), lease, Status{ID: "h", State: "holding"}); err != nil {
		t.Fatal(err)
	}
	setPolicy(t, g, Policy{Max: at(7)})
	s, err := fleet.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	view := s.Groups["g/1"]
	if len(s.Groups) != 2 || len(s.Holders()) != 2 || view == nil || len(view.Queue) != snapshotPage+5 || len(view.Agents) != 1 {
		t.Fatalf("snapshot %+v", s)
	}
	if first, last := view.Queue[0], view.Queue[snapshotPage+4]; first.ID != "00002" || last.Priority != 0 || view.Agents[0].State != "holding" {
		t.Errorf("queue from %+v to %+v", first, last)
	}
	if rules := s.Rules("g/1"); rules.Group.MaxOr(0) != 7 {
		t.Errorf("rules %+v", rules)
	}
}

func testClusterLimit(t *testing.T, g *Group) {
	fleet := NewFleet(g.client, g.prefix)
	if _, _, err := fleet.ChangePolicy(t.Context(), func(p *Policy) { p.Max = at(2) }); err != nil {
		t.Fatal(err)
	}
	granted := make(chan *Slot, 10)
	done := make(chan error, 10)
	for i := range 10 {
		go func() {
			own, err := fleet.Group(fmt.Sprint("group-", i))
			if err == nil {
				var s *Slot
				if s, err = own.Acquire(t.Context(), Record{ID: "m"}); err == nil {
					granted <- s
				}
			}
			done <- err
		}()
	}
	for range 10 {
		if err := <-done; err != nil && !errors.Is(err, ErrRefused) {
			t.Error(err)
		}
	}
	if n := len(granted); n != 2 {
		t.Errorf("%d slots were granted in all groups together, want 2", n)
	}
}
