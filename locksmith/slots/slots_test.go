package slots

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/coorddtest"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func newClient(t *testing.T, endpoint string, options ...grpc.DialOption) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialOptions: options, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func newGroup(t *testing.T, c *clientv3.Client, name string) *Group {
	t.Helper()
	g, err := NewGroup(c, DefaultPrefix, name)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func acquire(t *testing.T, g *Group, id string) *Slot {
	t.Helper()
	s, err := g.Acquire(t.Context(), Record{ID: id, BootID: "boot-1"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSlots(t *testing.T) { onEachStore(t, testSlotsOn) }

func testSlotsOn(t *testing.T, endpoint string) {
	client := newClient(t, endpoint)
	for name, test := range map[string]func(*testing.T, *Group){
		"one slot by default":                        testDefault,
		"a holder acquires again though full":        testIdempotent,
		"an old fence changes nothing":               testFence,
		"phases follow the table":                    testPhases,
		"limits":                                     testMax,
		"a watcher learns of a free slot":            testWatch,
		"a client that is closed ends the watch":     testWatchClosed,
		"names do not reach into each other":         testNames,
		"what is no record is an error, not a panic": testDamaged,
	} {
		t.Run(name, func(t *testing.T) { test(t, newGroup(t, client, t.Name())) })
	}
}

func testDefault(t *testing.T, g *Group) {
	s := acquire(t, g, "a")
	_, err := g.Acquire(t.Context(), Record{ID: "b"})
	full, ok := errors.AsType[*FullError](err)
	if !ok || !errors.Is(err, ErrFull) || full.Held != 1 || full.Max != 1 {
		t.Fatalf("second acquire: %v, want 1 held of at most 1", err)
	}
	state, err := g.State(t.Context())
	if err != nil || state.Available() != 0 || len(state.Holders) != 1 {
		t.Fatalf("state: %+v, %v", state, err)
	}
	if r := state.Holders[0]; r.ID != "a" || r.Phase != Held || r.Group != g.Name() || r.BootID != "boot-1" || r.Fence != s.Fence() {
		t.Errorf("record: %+v", r)
	}
	if err := s.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	acquire(t, g, "b")
}

func testIdempotent(t *testing.T, g *Group) {
	first := acquire(t, g, "a")
	if err := first.SetPhase(t.Context(), Rebooting, "boot-1", ""); err != nil {
		t.Fatal(err)
	}
	before, err := g.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again := acquire(t, g, "a")
	if err := again.SetPhase(t.Context(), Rebooting, "boot-1", ""); err != nil {
		t.Fatal(err)
	}
	if after, err := g.State(t.Context()); err != nil || after.Revision != before.Revision {
		t.Errorf("repeats wrote to the store: revision %d, then %d, %v", before.Revision, after.Revision, err)
	}
	if again.Fence() != first.Fence() {
		t.Errorf("fence %d, then %d", first.Fence(), again.Fence())
	}
	if r, err := again.Verify(t.Context()); err != nil || r.Phase != Rebooting {
		t.Errorf("the record has changed: %+v, %v", r, err)
	}
}

func testFence(t *testing.T, g *Group) {
	old := acquire(t, g, "a")
	if err := old.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := old.Release(t.Context()); !errors.Is(err, ErrNotHeld) {
		t.Errorf("second release: %v, want ErrNotHeld", err)
	}
	present := acquire(t, g, "a")
	if present.Fence() <= old.Fence() {
		t.Errorf("fence %d after %d", present.Fence(), old.Fence())
	}
	for what, err := range map[string]error{
		"release":  old.Release(t.Context()),
		"setphase": old.SetPhase(t.Context(), Rebooting, "boot-1", ""),
	} {
		if !errors.Is(err, ErrNotHeld) {
			t.Errorf("%s with the old fence: %v, want ErrNotHeld", what, err)
		}
	}
	if _, err := old.Verify(t.Context()); !errors.Is(err, ErrNotHeld) {
		t.Errorf("verify with the old fence: %v, want ErrNotHeld", err)
	}
	if r, err := present.Verify(t.Context()); err != nil || r.Phase != Held {
		t.Errorf("present holder: %+v, %v", r, err)
	}
	if _, _, err := g.Find(t.Context(), "nobody"); !errors.Is(err, ErrNotHeld) {
		t.Errorf("find: %v, want ErrNotHeld", err)
	}
}

func testPhases(t *testing.T, g *Group) {
	s := acquire(t, g, "a")
	for _, step := range []struct {
		next Phase
		boot string
		ok   bool
	}{
		{Verifying, "boot-1", false},
		{Draining, "boot-1", true},
		{Rebooting, "boot-1", true},
		{Rebooting, "boot-1", true}, // a repeat
		{Verifying, "boot-2", false},
		{Back, "boot-2", true},
		{Rebooting, "boot-2", false},
		{Verifying, "boot-2", true},
		{Waiting, "boot-2", false},
		{"asleep", "boot-2", false},
	} {
		err := s.SetPhase(t.Context(), step.next, step.boot, "")
		if step.ok != (err == nil) || !step.ok && !errors.Is(err, ErrPhase) {
			t.Errorf("to %s: %v, want success %t", step.next, err, step.ok)
		}
	}
	if r, err := s.Verify(t.Context()); err != nil || r.Phase != Verifying || r.BootID != "boot-2" {
		t.Errorf("record: %+v, %v", r, err)
	}
}

func testMax(t *testing.T, g *Group) {
	for _, n := range []int{-1, MaxSlots + 1} {
		if _, err := g.SetMax(t.Context(), n); !errors.Is(err, ErrMax) {
			t.Errorf("limit %d: %v, want ErrMax", n, err)
		}
	}
	for _, step := range []struct{ n, old int }{{3, DefaultMax}, {2, 3}, {2, 2}, {0, 2}, {2, 0}} {
		if old, err := g.SetMax(t.Context(), step.n); err != nil || old != step.old {
			t.Errorf("limit %d: old %d, %v, want %d", step.n, old, err, step.old)
		}
	}
	a := acquire(t, g, "a")
	acquire(t, g, "b")
	if _, err := g.SetMax(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if s, err := g.State(t.Context()); err != nil || len(s.Holders) != 2 || s.Available() != 0 {
		t.Errorf("lowering the limit took a slot away: %+v, %v", s, err)
	}
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Acquire(t.Context(), Record{ID: "c"}); !errors.Is(err, ErrFull) {
		t.Errorf("acquire: %v, want ErrFull", err)
	}
}

func testWatch(t *testing.T, g *Group) {
	s := acquire(t, g, "a")
	for state, err := range g.Watch(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if state.Available() > 0 {
			return
		}
		if err := s.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the watch ended before it showed the free slot")
}

func testWatchClosed(t *testing.T, g *Group) {
	own := newClient(t, g.client.Endpoints()[0])
	g = newGroup(t, own, g.Name())
	var last error
	for _, err := range g.Watch(t.Context()) {
		own.Close()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("the watch of a closed client ended with %v", last)
	}
}

func testNames(t *testing.T, g *Group) {
	for _, name := range []string{"", "\xff", "a\nb", strings.Repeat("x", maxNameBytes+1)} {
		if _, err := NewGroup(g.client, DefaultPrefix, name); !errors.Is(err, ErrName) {
			t.Errorf("group %q: %v, want ErrName", name, err)
		}
		if _, err := g.Acquire(t.Context(), Record{ID: name}); !errors.Is(err, ErrName) {
			t.Errorf("machine %q: %v, want ErrName", name, err)
		}
	}
	// Were names not escaped, the second group's holder would lie in the first's keys.
	inner := newGroup(t, g.client, g.Name()+"/holders/x")
	acquire(t, inner, "a")
	acquire(t, g, "../a /%2F")
	s, err := g.State(t.Context())
	if err != nil || len(s.Holders) != 1 || s.Holders[0].ID != "../a /%2F" {
		t.Errorf("state: %+v, %v", s, err)
	}
}

func testDamaged(t *testing.T, g *Group) {
	for key, value := range map[string]string{g.holderKey("a"): "no json", g.policyKey(): `{"max":-4}`} {
		if _, err := g.client.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
		if s, err := g.State(t.Context()); err == nil {
			t.Errorf("%s = %q: %+v, want an error", key, value, s)
		}
		if _, err := g.client.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

// loseReplies makes the answers of the next n writing transactions vanish after
// the server has carried them out.
func loseReplies(n, lost *atomic.Int32) grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any,
		cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if err == nil && strings.HasSuffix(method, "/Txn") && strings.Contains(fmt.Sprint(req), "compare") && n.Add(-1) >= 0 {
			lost.Add(1)
			return status.Error(codes.Unavailable, "the answer is lost")
		}
		return err
	})
}

func TestLostReply(t *testing.T) {
	endpoint := coorddtest.Start(t)
	var lose, lost atomic.Int32
	g := newGroup(t, newClient(t, endpoint, loseReplies(&lose, &lost)), "lossy")

	lose.Store(1)
	s := acquire(t, g, "a")
	if state, err := g.State(t.Context()); err != nil || len(state.Holders) != 1 || state.Holders[0].Fence != s.Fence() {
		t.Fatalf("after acquire: %+v, %v", state, err)
	}
	lose.Store(1)
	if err := s.SetPhase(t.Context(), Rebooting, "boot-1", ""); err != nil {
		t.Fatalf("set phase: %v", err)
	}
	lose.Store(1)
	if old, err := g.SetMax(t.Context(), 5); err != nil || old != 1 {
		t.Fatalf("set max: old %d, %v, want 1", old, err)
	}
	lose.Store(1)
	if err := s.Release(t.Context()); err != nil {
		t.Fatalf("release: %v", err)
	}
	if lost.Load() != 4 {
		t.Fatalf("%d answers were lost, want 4: else the test proves nothing", lost.Load())
	}
	if state, err := g.State(t.Context()); err != nil || len(state.Holders) != 0 || state.Max != 5 {
		t.Fatalf("at the end: %+v, %v", state, err)
	}
}

func TestUnreachable(t *testing.T) {
	g := newGroup(t, newClient(t, "http://127.0.0.1:1" /* where nothing listens */), "nowhere")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := g.Acquire(ctx, Record{ID: "a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("acquire: %v, want the end of the context", err)
	}
	for _, err := range g.Watch(ctx) {
		t.Errorf("watch: %v, want nothing", err)
	}
}
