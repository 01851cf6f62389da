package slots

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/coorddtest"
	"google.golang.org/grpc"
)

// beforeCommit calls f once, before the first conditional write of a client.
func beforeCommit(f func()) grpc.DialOption {
	var once sync.Once
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any,
		cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if strings.HasSuffix(method, "/Txn") && strings.Contains(fmt.Sprint(req), "compare") {
			once.Do(f)
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	})
}

// beforeRange calls f once, before the second read of a range.
func beforeRange(f func()) grpc.DialOption {
	var reads atomic.Int32
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any,
		cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if strings.HasSuffix(method, "/Range") && reads.Add(1) == 2 {
			f()
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	})
}

// TestGrantIsOfTheMoment changes, between the judgement of a grant and its
// transaction, what was judged by.
func TestGrantIsOfTheMoment(t *testing.T) {
	endpoint := coorddtest.Start(t)
	want := Record{ID: "a", Zone: "z"}
	for name, test := range map[string]struct {
		change func(g *Group, fleet *Fleet) error
		want   error
	}{
		"nothing":       {func(*Group, *Fleet) error { return nil }, nil},
		"group paused":  {func(g *Group, _ *Fleet) error { return g.Pause(t.Context(), Pause{Reason: "x"}) }, ErrRefused},
		"fleet paused":  {func(_ *Group, f *Fleet) error { return f.Pause(t.Context(), Pause{Reason: "x"}) }, ErrRefused},
		"limit lowered": {func(g *Group, _ *Fleet) error { _, err := g.SetMax(t.Context(), 0); return err }, ErrFull},
		"cluster's limit lowered": {func(_ *Group, f *Fleet) error {
			_, _, err := f.ChangePolicy(t.Context(), func(p *Policy) { p.Max = at(0) })
			return err
		}, ErrRefused},
		"slot taken": {func(g *Group, _ *Fleet) error { _, err := g.Acquire(t.Context(), Record{ID: "b"}); return err }, ErrFull},
		"place lost": {func(g *Group, _ *Fleet) error { return g.Leave(t.Context(), want) }, ErrNotQueued},
	} {
		t.Run(name, func(t *testing.T) {
			quiet := newGroupAlone(t, newClient(t, endpoint))
			enqueue(t, quiet, want)
			lossy := newGroupAlone(t, newClient(t, endpoint, beforeCommit(func() {
				if err := test.change(quiet, NewFleet(quiet.client, quiet.prefix)); err != nil {
					t.Error(err)
				}
			})))
			if _, err := lossy.AcquireInTurn(t.Context(), want, noon); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// TestDeadHolderComesBack lets a machine show that it lives between the judgement
// that it is dead and the transaction that ends its slot.
func TestDeadHolderComesBack(t *testing.T) {
	endpoint := coorddtest.Start(t)
	for name, sign := range map[string]func(g *Group, s *Slot) error{
		"its agent reports": func(g *Group, _ *Slot) error {
			return g.Report(t.Context(), newLease(t, g.client), Status{ID: "late", State: "verifying"})
		},
		"its phase changes": func(_ *Group, s *Slot) error { return s.SetPhase(t.Context(), Back, "boot-2", "") },
	} {
		t.Run(name, func(t *testing.T) {
			quiet := newGroupAlone(t, newClient(t, endpoint))
			setPolicy(t, quiet, Policy{DeadHolder: ReleaseIfAbsent, DeadAfterSeconds: 60})
			late, err := quiet.Acquire(t.Context(), Record{ID: "late", TakenBy: TakenByAgent})
			if err != nil {
				t.Fatal(err)
			}
			if err := late.SetPhase(t.Context(), Rebooting, "boot-1", ""); err != nil {
				t.Fatal(err)
			}
			next := enqueue(t, quiet, Record{ID: "next"})
			lossy := newGroupAlone(t, newClient(t, endpoint, beforeCommit(func() {
				if err := sign(quiet, late); err != nil {
					t.Error(err)
				}
			})))
			r, err := late.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := lossy.AcquireInTurn(t.Context(), next, r.PhaseSince.Add(60*time.Second)); !errors.Is(err, ErrFull) {
				t.Errorf("%v, want full", err)
			}
			if st, err := quiet.Standing(t.Context()); err != nil || st.Failures != 0 {
				t.Errorf("standing %+v, %v", st, err)
			}
		})
	}
}
