package recipes

import (
	"context"
	"errors"
	"testing"
)

// elections are in recipes' own layout here; election_test.go has those of etcd's.
func (f *fixture) election(s *Session) *Election {
	return NewElection(s, "chief", &ElectionOptions{Prefix: f.options.Prefix})
}

// awaitStanding returns the candidates once there are n, in the order of their turns.
func (f *fixture) awaitStanding(e *Election, n int) (waiting []Place) {
	f.Helper()
	f.awaitKeys(e.path+queueDir, 2*n) // one that says who it is beside each
	places, err := e.Places(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range places {
		if p.State == Waiting {
			waiting = append(waiting, p)
		}
	}
	return waiting
}

func TestCandidatesLeadInTurn(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		e, ctx := f.election(f.session), f.Context()
		at := f.revision()
		first := f.campaign(e, "a")
		if took := f.revision() - at; took != 1 {
			f.Errorf("an election without others took %d commits, want 1", took)
		}
		other := f.election(openSession(f.T, f.client, 60))
		second := f.campaignLater(ctx, other, "b")
		f.awaitStanding(e, 1)
		third := f.campaignLater(ctx, e, "c")
		f.awaitStanding(e, 2)
		if now, err := other.Leader(ctx); err != nil || string(now.KV.Value) != "a" {
			f.Fatalf("%v leads, %v", now.KV, err)
		}
		f.resign(first)
		b := f.awaitTerm(second)
		if err := b.Proclaim(ctx, "b2"); err != nil {
			f.Fatal(err)
		}
		if now, err := e.Leader(ctx); err != nil || string(now.KV.Value) != "b2" || string(now.KV.Key) != b.Key() {
			f.Fatalf("%v leads, %v", now.KV, err)
		}
		f.wantGuard(first, false)
		f.wantGuard(b, true)
		f.resign(b)
		c := f.awaitTerm(third)
		for _, pair := range [][2]*Leadership{{first, b}, {b, c}} {
			if order, err := pair[0].Token().Compare(pair[1].Token()); err != nil || order >= 0 {
				f.Errorf("tokens %s and %s", pair[0].Token(), pair[1].Token())
			}
		}
		f.resign(c)
		if _, err := e.Leader(ctx); !errors.Is(err, ErrNoLeader) {
			f.Errorf("Leader of nobody: %v", err)
		}
	})
}

// The leader hands over past those who stood before; tokens rise all the same, whatever the order of the candidacies.
func TestTransfer(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		e, ctx := f.election(f.session), f.Context()
		first := f.campaign(e, "a")
		second := f.campaignLater(ctx, e, "b")
		f.awaitStanding(e, 1)
		third := f.campaignLater(ctx, f.election(openSession(f.T, f.client, 60)), "c")
		standing := f.awaitStanding(e, 2)
		if err := first.Transfer(ctx, standing[1].Key); err != nil {
			f.Fatal(err)
		}
		c := f.awaitTerm(third)
		if err := c.Verify(ctx); err != nil {
			f.Fatal(err)
		}
		select {
		case o := <-second:
			f.Fatalf("the second leads beside the third: %v", o)
		default:
		}
		if now, err := e.Leader(ctx); err != nil || string(now.KV.Value) != "c" {
			f.Fatalf("%v leads, %v", now.KV, err)
		}
		if !errors.Is(first.Valid(), ErrUnlocked) {
			f.Errorf("the first: %v", first.Valid())
		}
		f.resign(c)
		b := f.awaitTerm(second)
		if b.Token().Revision() <= c.Token().Revision() || c.Token().Revision() <= first.Token().Revision() {
			f.Errorf("tokens %s, %s, %s do not rise", first.Token(), c.Token(), b.Token())
		}
		if err := b.Transfer(ctx, c.Key()); !errors.Is(err, ErrNoCandidate) {
			f.Errorf("a transfer to nobody: %v", err)
		}
		f.wantGuard(b, true) // it refused a key that is none before it did anything
		f.resign(b)
	})
}

func TestTransferToWhoHasGoneResigns(t *testing.T) {
	f := newFixture(t)
	e := f.election(f.session)
	first := f.campaign(e, "a")
	gone, cancel := context.WithCancel(t.Context())
	second := f.campaignLater(gone, e, "b")
	standing := f.awaitStanding(e, 1)
	cancel()
	<-second
	third := f.campaignLater(t.Context(), e, "c")
	f.awaitStanding(e, 1)
	if err := first.Transfer(t.Context(), standing[0].Key); !errors.Is(err, ErrNoCandidate) {
		t.Fatalf("a transfer to who has gone: %v", err)
	}
	f.resign(f.awaitTerm(third))
}

func TestObserveTellsOfNobodyInOwnLayout(t *testing.T) {
	f := newFixture(t)
	e := f.election(f.session)
	seen := make(chan string, 8)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for now, err := range e.Observe(ctx) {
			switch {
			case err != nil:
				return
			case now.KV == nil:
				seen <- "nobody"
			default:
				seen <- string(now.KV.Value)
			}
		}
	}()
	expect := func(want string) {
		t.Helper()
		if got := <-seen; got != want {
			t.Fatalf("observed %s, want %s", got, want)
		}
	}
	expect("nobody")
	l := f.campaign(e, "a")
	expect("a")
	if err := l.Proclaim(t.Context(), "a2"); err != nil {
		t.Fatal(err)
	}
	expect("a2")
	f.resign(l)
	expect("nobody")
	cancel()
	<-done
}

func TestElectionRunLeadsAgainAfterALoss(t *testing.T) {
	f := newFixture(t)
	e := f.election(f.session)
	enough := errors.New("enough")
	var terms []int64
	err := e.Run(t.Context(), "a", func(ctx context.Context, l *Leadership) error {
		if terms = append(terms, l.Token().Revision()); len(terms) == 2 {
			return enough
		}
		if _, err := f.client.Delete(ctx, l.Key()); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, enough) || len(terms) != 2 || terms[1] <= terms[0] {
		t.Errorf("terms %v, then %v", terms, err)
	}
	if _, err := e.Leader(t.Context()); !errors.Is(err, ErrNoLeader) {
		t.Errorf("after Run: %v", err)
	}
}

// D3: a candidate whose session ends while it waits is not elected.
func TestD3DeadSessionsCandidateIsNotElectedInOwnLayout(t *testing.T) {
	f := newFixture(t)
	e := f.election(f.session)
	l := f.campaign(e, "a")
	dead := openSession(t, f.client, 60)
	later := f.campaignLater(t.Context(), f.election(dead), "b")
	f.awaitStanding(e, 1)
	if _, err := f.client.Revoke(t.Context(), dead.Lease()); err != nil {
		t.Fatal(err)
	}
	f.resign(l)
	if o := <-later; !errors.Is(o.err, ErrLost) {
		t.Fatalf("elected without a session: %v, %v", o.leadership, o.err)
	}
}
