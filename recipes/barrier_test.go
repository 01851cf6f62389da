package recipes

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (f *fixture) barrier(s *Session, name string) *Barrier {
	return NewBarrier(s, name, &BarrierOptions{Prefix: f.options.Prefix})
}

func TestBarrier(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		ctx := f.Context()
		b := f.barrier(f.session, "one")
		hold := func() error { return b.Hold(ctx) }
		release := func() error { return b.Release(ctx) }
		wait := func() error { return b.Wait(ctx) }
		f.commits("Wait at a barrier never held", 0, wait)
		f.commits("Hold", 2, hold)
		f.commits("Hold of a closed barrier", 0, func() error {
			if err := f.barrier(f.session, "one").Hold(ctx); !errors.Is(err, ErrLocked) {
				return errors.Join(errors.New("not ErrLocked"), err)
			}
			return nil
		})
		waiters := []<-chan error{later(wait), later(wait)}
		other := f.barrier(openSession(f.T, f.client, 60), "one")
		f.commits("Release by another session", 1, func() error { return other.Release(ctx) })
		for _, done := range waiters {
			if err := <-done; err != nil {
				f.Error(err)
			}
		}
		f.commits("Release of an open barrier", 0, release)
		if keys := f.below(b.path); len(keys) != 0 {
			f.Errorf("left behind: %v", keys)
		}
	})
}

func TestBarrierShowsWhoHoldsIt(t *testing.T) {
	f := newFixture(t)
	b := NewBarrier(f.session, "one", &BarrierOptions{Prefix: f.options.Prefix, Reason: "migration"})
	if err := b.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, err := b.cell().load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var value barrierHold
	var holder Holder
	if err := errors.Join(json.Unmarshal(found.Value, &value), json.Unmarshal(value.Holder, &holder)); err != nil {
		t.Fatal(err)
	}
	if holder.Reason != "migration" || holder.Identity == "" || value.Attempt == "" {
		t.Errorf("%s", found.Value)
	}
}

// A barrier outlives who closed it, unless it is to open with the session.
func TestBarrierAndItsSession(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		holder := openSession(f.T, f.client, 60)
		lasting := f.barrier(holder, "lasting")
		leased := NewBarrier(holder, "leased", &BarrierOptions{Prefix: f.options.Prefix, OpensWithSession: true})
		for _, b := range []*Barrier{lasting, leased} {
			if err := b.Hold(f.Context()); err != nil {
				f.Fatal(err)
			}
		}
		waiter := later(func() error { return f.barrier(f.session, "leased").Wait(f.Context()) })
		if err := holder.Close(); err != nil {
			f.Fatal(err)
		}
		if err := <-waiter; err != nil {
			f.Error(err)
		}
		if err := lasting.Wait(f.Context()); !errors.Is(err, ErrSessionClosed) {
			f.Errorf("Wait with a closed session: %v", err)
		}
		if err := f.barrier(f.session, "lasting").Hold(f.Context()); !errors.Is(err, ErrLocked) {
			f.Errorf("the barrier opened with its session: %v", err)
		}
	})
}

func TestBarrierLostReplies(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		b := f.barrier(f.session, "one")
		faults.set(everyWriteAnsweredLate())
		f.commits("Hold", 2, func() error { return b.Hold(f.Context()) })
		f.commits("Release", 1, func() error { return b.Release(f.Context()) })
	})
}

// Requests that come twice, the second time long after, neither close nor open a barrier.
func TestBarrierLateDuplicates(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		var late duplicates
		faults.set(late.fault)
		b := f.barrier(f.session, "one")
		for range 2 {
			if err := b.Hold(f.Context()); err != nil {
				f.Fatal(err)
			}
			late.arrive(f)
			if found, err := b.cell().load(f.Context()); err != nil || found == nil {
				f.Fatalf("a late request opened the barrier: %v", err)
			}
			if err := b.Release(f.Context()); err != nil {
				f.Fatal(err)
			}
			late.arrive(f)
			if found, err := b.cell().load(f.Context()); err != nil || found != nil {
				f.Fatalf("a late request closed the barrier: %v", err)
			}
		}
	})
}

// A Release after a Hold of unknown outcome settles that the barrier is open and stays so.
func TestBarrierReleaseStopsAHoldOnItsWay(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		var late duplicates
		b := f.barrier(f.session, "one")
		ctx, cancel := context.WithCancel(f.Context())
		faults.set(func(c context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
			for _, op := range req.Success {
				if len(op.GetRequestPut().GetValue()) > 0 { // the second half, which does not arrive for now
					late.sent = append(late.sent, req)
					cancel()
					return lostReply()
				}
			}
			return send(c)
		})
		if err := b.Hold(ctx); !errors.Is(err, context.Canceled) {
			f.Fatalf("Hold returned %v", err)
		}
		faults.set(nil)
		if err := b.Release(f.Context()); err != nil {
			f.Fatal(err)
		}
		late.arrive(f)
		if len(late.sent) == 0 || len(f.below(b.path)) != 0 {
			f.Errorf("%d requests late, left behind: %v", len(late.sent), f.below(b.path))
		}
	})
}

func TestD5BarrierWaitWithBrokenWatches(t *testing.T) {
	for name := range stores {
		t.Run(name, func(t *testing.T) {
			f := newFixtureOn(t, name)
			b := f.barrier(f.session, "one")
			if err := b.Hold(t.Context()); err != nil {
				t.Fatal(err)
			}
			option, mended := breakingWatches(3)
			other := openSession(t, dial(t, startStore(t, name), option), 60)
			waiter := later(func() error { return f.barrier(other, "one").Wait(t.Context()) })
			<-mended
			f.pending("Wait at a closed barrier", waiter)
			if err := b.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-waiter; err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestD5BarrierWaitWithLostConnectionsAndCompaction(t *testing.T) {
	for name := range stores {
		t.Run(name, func(t *testing.T) {
			f := newFixtureOn(t, name)
			proxy := newProxy(t, startStore(t, name))
			other := openSession(t, dial(t, proxy.endpoint()), 60)
			b := f.barrier(f.session, "one")
			if err := b.Hold(t.Context()); err != nil {
				t.Fatal(err)
			}
			waiter := later(func() error { return f.barrier(other, "one").Wait(t.Context()) })
			for range 3 {
				f.compactBehind(proxy, other)
			}
			f.pending("Wait at a closed barrier", waiter)
			if err := b.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-waiter; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The one who waits ends with its context and with its session, and neither means that the barrier is open.
func TestBarrierWaitEnds(t *testing.T) {
	f := newFixture(t)
	b := f.barrier(f.session, "one")
	if err := b.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiter := later(func() error { return b.Wait(ctx) })
	cancel()
	if err := <-waiter; !errors.Is(err, context.Canceled) {
		t.Errorf("Wait returned %v", err)
	}
	other := openSession(t, f.client, 60)
	waiter = later(func() error { return f.barrier(other, "one").Wait(t.Context()) })
	if _, err := f.client.Revoke(t.Context(), other.Lease()); err != nil {
		t.Fatal(err)
	}
	other.Close()
	if err := <-waiter; !errors.Is(err, ErrLost) {
		t.Errorf("Wait returned %v", err)
	}
}

// Names are any bytes, and no name's keys are another's.
func TestBarrierNames(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a", "a/b", "a/closed", "\x00", "%", "a\x00", strings.Repeat("n", MaxNameBytes)} {
		if err := f.barrier(f.session, name).Hold(t.Context()); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}
