package fence

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// register is a resource that takes over what a holder read before and adds to it.
type register struct {
	guard *Guard
	value int
}

func (r *register) write(t Token, value int) error {
	return r.guard.Do(t, func() error { r.value = value; return nil })
}

// P1: the old holder's last write comes between the new holder's read and write. Without Advance it is lost although
// every write is fenced; with Advance it is refused.
func TestAdvanceBeforeTheFirstRead(t *testing.T) {
	for _, advance := range []bool{false, true} {
		r := register{guard: NewGuard(resource)}
		old, now := tokenOf(t, Exclusive, 5), tokenOf(t, Exclusive, 6)
		if err := r.write(old, 1); err != nil {
			t.Fatal(err)
		}
		if advance {
			if err := r.guard.Advance(now); err != nil {
				t.Fatal(err)
			}
		}
		read := r.value
		late := r.write(old, 10) // acknowledged or refused
		if err := r.write(now, read+1); err != nil {
			t.Fatal(err)
		}
		if lost := late == nil && r.value < 10; lost == advance {
			t.Errorf("advance %t: the late write returned %v, the value is %d", advance, late, r.value)
		}
		if advance && !errors.Is(late, ErrStale) {
			t.Errorf("the late write after Advance: %v", late)
		}
	}
}

// P3: the holders of one semaphore are all legitimate.
func TestSlotsAreFencedApart(t *testing.T) {
	slot := func(name string, revision int64) Token {
		return changed(t, tokenOf(t, Exclusive, revision), func(f *Fields) { f.Slot = name })
	}
	g := NewGuard(resource, "a", "b")
	for _, tok := range []Token{slot("a", 5), slot("b", 9), slot("a", 5), slot("a", 6)} {
		if err := g.Advance(tok); err != nil {
			t.Errorf("%s: %v", tok, err)
		}
	}
	if err := g.Advance(slot("a", 5)); !errors.Is(err, ErrStale) {
		t.Errorf("the former holder of slot a: %v", err)
	}
	// The mistake that slots avoid: one mark for the whole semaphore refuses a holder that nobody overtook.
	one := NewGuard(resource)
	if err := one.Advance(slot("", 9)); err != nil {
		t.Fatal(err)
	}
	if err := one.Advance(slot("", 5)); !errors.Is(err, ErrStale) {
		t.Errorf("another holder, with one mark for all: %v", err)
	}
}

func TestGuardRefusesWhatItDoesNotGuard(t *testing.T) {
	g := NewGuard(resource, "a")
	tok := changed(t, tokenOf(t, Exclusive, 5), func(f *Fields) { f.Slot = "a" })
	for what, other := range map[string]Token{
		"no token":         {},
		"another resource": changed(t, tok, func(f *Fields) { f.Resource = "/coordd/locks/other" }),
		"an unknown slot":  changed(t, tok, func(f *Fields) { f.Slot = "zzz" }),
		"no slot":          changed(t, tok, func(f *Fields) { f.Slot = "" }),
	} {
		run := g.Do(other, func() error { t.Errorf("%s: it ran", what); return nil })
		for _, err := range []error{run, g.Check(other), g.Advance(other)} {
			if !errors.Is(err, ErrIncomparable) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if len(g.slots) != 1 || !g.slots["a"].mark.IsZero() {
		t.Errorf("the guard keeps %v", g.slots)
	}
	long := NewGuard(string(make([]byte, 4000)), string(make([]byte, 3000)))
	if err := long.Advance(changed(t, tok, func(f *Fields) { f.Resource, f.Slot = string(make([]byte, 4000)), string(make([]byte, 3000)) })); err != nil {
		t.Errorf("names that stand in the token as digests: %v", err)
	}
}

func TestCheckRaisesNothing(t *testing.T) {
	g := NewGuard(resource)
	if err := g.Check(tokenOf(t, Exclusive, 9)); err != nil {
		t.Fatal(err)
	}
	if err := g.Advance(tokenOf(t, Exclusive, 5)); err != nil {
		t.Errorf("after a check of a higher one: %v", err)
	}
	if err := g.Check(tokenOf(t, Exclusive, 4)); !errors.Is(err, ErrStale) {
		t.Errorf("a stale one: %v", err)
	}
}

func TestDoKeepsTheMarkWhenTheFunctionFails(t *testing.T) {
	g := NewGuard(resource)
	broken := errors.New("broken")
	if err := g.Do(tokenOf(t, Exclusive, 6), func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("returned %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = g.Do(tokenOf(t, Exclusive, 7), func() error { panic("inside") })
	}()
	if err := g.Do(tokenOf(t, Exclusive, 6), func() error { return nil }); !errors.Is(err, ErrStale) {
		t.Errorf("an older one after it: %v", err)
	}
}

// Advance returns only after the write that it overtakes: what is read then will not change under the reader.
func TestAdvanceWaitsForARunningWrite(t *testing.T) {
	g := NewGuard(resource)
	inside, goOn, advanced := make(chan struct{}), make(chan struct{}), make(chan struct{})
	written := false
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = g.Do(tokenOf(t, Exclusive, 5), func() error { close(inside); <-goOn; written = true; return nil })
	})
	<-inside
	wait.Go(func() {
		defer close(advanced)
		if err := g.Advance(tokenOf(t, Exclusive, 6)); err != nil || !written {
			t.Errorf("advanced with %v, the write was over: %t", err, written)
		}
	})
	close(goOn)
	<-advanced
	wait.Wait()
}

func TestGuardUnderManyWriters(t *testing.T) {
	g := NewGuard(resource)
	var highest int64 // guarded by Do
	var wait sync.WaitGroup
	for writer := range 8 {
		wait.Go(func() {
			for i := range 200 {
				tok := tokenOf(t, Exclusive, int64(1+i*8+(i*5+writer*3)%8))
				err := g.Do(tok, func() error {
					if tok.Revision() < highest {
						return fmt.Errorf("%d was let in after %d", tok.Revision(), highest)
					}
					highest = tok.Revision()
					return nil
				})
				if err != nil && !errors.Is(err, ErrStale) {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if highest != 1600 {
		t.Errorf("the highest token that wrote is %d of 1600", highest)
	}
}

func TestContextCarriesToken(t *testing.T) {
	if tok, ok := FromContext(t.Context()); ok {
		t.Errorf("an empty context has %s", tok)
	}
	if tok, ok := FromContext(NewContext(t.Context(), Token{})); ok {
		t.Errorf("no token arrives as %s", tok)
	}
	want := tokenOf(t, Shared, 5)
	ctx, cancel := context.WithCancel(NewContext(t.Context(), want))
	defer cancel()
	if tok, ok := FromContext(ctx); !ok || tok != want {
		t.Errorf("%s, %t", tok, ok)
	}
}
