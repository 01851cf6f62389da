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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

// losesAnswer carries out the first conditional write, calls f, and loses the answer.
func losesAnswer(f func()) grpc.DialOption {
	var writes atomic.Int32
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any,
		cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if err == nil && strings.HasSuffix(method, "/Txn") && strings.Contains(fmt.Sprint(req), "compare") && writes.Add(1) == 1 {
			f()
			return status.Error(codes.Unavailable, "the answer is lost")
		}
		return err
	})
}

// TestLostAnswerIsNotSaidTwice undoes, between a change of which the answer is lost and its
// repetition, what the change has done: that stays.
func TestLostAnswerIsNotSaidTwice(t *testing.T) {
	endpoint := coorddtest.Start(t)
	for name, test := range map[string]struct {
		do, since func(g *Group) error
		paused    bool
	}{
		"resume": {
			do:     func(g *Group) error { return g.Resume(t.Context(), "ann", noon) },
			since:  func(g *Group) error { return g.Pause(t.Context(), Pause{By: breakerName, Since: noon}) },
			paused: true,
		},
		"pause": {
			do:    func(g *Group) error { return g.Pause(t.Context(), Pause{By: "ann", Since: noon}) },
			since: func(g *Group) error { return g.Resume(t.Context(), "bob", noon) },
		},
		"remove": {
			do: func(g *Group) error { return g.RemoveDamaged(t.Context(), "x", "ann", "", noon) },
			since: func(g *Group) error {
				if _, err := g.SetMax(t.Context(), 9); err != nil {
					return err
				}
				_, err := g.Acquire(t.Context(), Record{ID: "x"})
				return err
			},
		},
		"remove, and nobody since": {
			do:    func(g *Group) error { return g.RemoveDamaged(t.Context(), "x", "ann", "", noon) },
			since: func(*Group) error { return nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			quiet := newGroupAlone(t, newClient(t, endpoint))
			put(t, quiet, quiet.holderKey("x"), "no json")
			lossy := newGroupAlone(t, newClient(t, endpoint, losesAnswer(func() {
				if err := test.since(quiet); err != nil {
					t.Error(err)
				}
			})))
			if err := test.do(lossy); err != nil {
				t.Fatal(err)
			}
			s, err := quiet.Standing(t.Context())
			if err != nil || (s.Pause != nil) != test.paused {
				t.Errorf("%+v, %v, want paused: %v", s, err, test.paused)
			}
		})
	}
}

// TestReleaseLeavesNoPlace ends the place in the queue that came late.
func TestReleaseLeavesNoPlace(t *testing.T) {
	g := newGroupAlone(t, newClient(t, coorddtest.Start(t)))
	for _, by := range []string{TakenByAgent, TakenByOperator} {
		s, err := g.Acquire(t.Context(), Record{ID: by, TakenBy: by})
		if err != nil {
			t.Fatal(err)
		}
		enqueue(t, g, Record{ID: by, TakenBy: TakenByAgent})
		release(t, s)
	}
	s, err := g.State(t.Context())
	if err != nil || s.Waiting != 1 {
		t.Errorf("%+v, %v: want the place of the machine that an operator has locked and unlocked, and no other", s, err)
	}
}

// TestHistoryOfWrongClocks keeps the order of what happened, and what happened last,
// whatever the clocks of the machines say.
func TestHistoryOfWrongClocks(t *testing.T) {
	g := newGroupAlone(t, newClient(t, coorddtest.Start(t)))
	for _, year := range []int{2200, 1970, 2020, 1971} {
		if err := g.Pause(t.Context(), Pause{By: fmt.Sprint(year), Since: time.Date(year, 1, 2, 0, 0, 0, 0, time.UTC)}); err != nil {
			t.Fatal(err)
		}
	}
	events, err := g.History(t.Context(), 3)
	if err != nil || len(events) != 3 || events[0].By != "1970" || events[1].By != "2020" || events[2].By != "1971" {
		t.Errorf("%+v, %v", events, err)
	}
}

// TestWatchWakesForRoom lets those who wait sleep through what cannot let them go:
// thousands would read all of it.
func TestWatchWakesForRoom(t *testing.T) {
	endpoint := coorddtest.Start(t)
	var reads atomic.Int32
	quiet := newGroupAlone(t, newClient(t, endpoint))
	counted := newGroupAlone(t, newClient(t, endpoint, grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any,
		cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		reads.Add(1)
		return invoke(ctx, method, req, reply, cc, opts...)
	})))
	const rounds = 10
	var begun sync.Once
	var wg sync.WaitGroup
	defer wg.Wait()
	for state, err := range counted.Watch(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if state.Max == 9 {
			break
		}
		begun.Do(func() { wg.Go(func() { useSlots(t, quiet, rounds) }) })
	}
	if n := reads.Load(); n > rounds+2 {
		t.Errorf("%d reads for %d slots that were given back, want %d at most: one each, one at the beginning and one for the new limit", n, rounds, rounds+2)
	}
}

// useSlots has one machine after another go through all phases, and then raises the limit to 9.
func useSlots(t *testing.T, g *Group, rounds int) {
	for range rounds {
		s, err := g.Acquire(t.Context(), Record{ID: "a"})
		for _, phase := range []Phase{Draining, Rebooting, Back, Verifying} {
			if err == nil {
				err = s.SetPhase(t.Context(), phase, string(phase), "")
			}
		}
		if err == nil {
			err = s.Release(t.Context())
		}
		if err != nil {
			t.Error(err)
			break
		}
	}
	if _, err := g.SetMax(t.Context(), 9); err != nil {
		t.Error(err)
	}
}
