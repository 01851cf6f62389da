package recipes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// bill counts a client's requests. A commit is one that the store replicates: whatever may write, also when its conditions
// did not hold. Reads are counted if the context says that they are the caller's: what is held is also watched beside the
// caller, which reads now and then.
type bill struct{ commits, reads atomic.Int64 }

type callers struct{}

// read counts a read of the caller.
func (b *bill) read(ctx context.Context) {
	if ctx.Value(callers{}) != nil {
		b.reads.Add(1)
	}
}

func (b *bill) options() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			switch req := req.(type) {
			case *pb.RangeRequest:
				b.read(ctx)
			case *pb.TxnRequest:
				if isWrite(req) {
					b.commits.Add(1)
				} else {
					b.read(ctx)
				}
			default:
				b.commits.Add(1)
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		})}
}

// take returns what was counted since the last time.
func (b *bill) take() (commits, reads int64) { return b.commits.Swap(0), b.reads.Swap(0) }

// tariff runs what is charged and compares with docs/RECIPES.md, where each row stands.
type tariff struct {
	*fixture
	bill *bill
	docs string
}

// Context makes the reads of a call count.
func (f *tariff) Context() context.Context {
	return context.WithValue(f.fixture.Context(), callers{}, true)
}

// charge makes a call and compares its cost; the row "| what | commits | reads |" stands in the docs. Negative reads are
// not counted: they depend on who is faster.
func (f *tariff) charge(what string, commits, reads int64, call func() error) {
	f.Helper()
	f.bill.take()
	if err := call(); err != nil {
		f.Fatalf("%s: %v", what, err)
	}
	madeCommits, madeReads := f.bill.take()
	if madeCommits != commits || reads >= 0 && madeReads != reads {
		f.Errorf("%s: %d commits and %d reads, want %d and %d", what, madeCommits, madeReads, commits, reads)
	}
	row := fmt.Sprintf("| %s | %d | ", what, commits)
	if reads >= 0 {
		row += fmt.Sprintf("%d |", reads)
	}
	if !strings.Contains(f.docs, row) {
		f.Errorf("not in docs/RECIPES.md: %s", row)
	}
}

// locked is a call that is to return ErrLocked.
func locked[T any](ctx context.Context, try func(context.Context) (T, error)) func() error {
	return func() error {
		if _, err := try(ctx); !errors.Is(err, ErrLocked) {
			return fmt.Errorf("not locked: %w", err)
		}
		return nil
	}
}

// into keeps what a call returns.
func into[T any](ctx context.Context, result *T, call func(context.Context) (T, error)) func() error {
	return func() (err error) {
		*result, err = call(ctx)
		return err
	}
}

func TestCosts(t *testing.T) {
	docs, err := os.ReadFile("../docs/RECIPES.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range stores {
		t.Run(name, func(t *testing.T) {
			b := &bill{}
			f := &tariff{newFixtureOn(t, name, b.options()...), b, string(docs)}
			for what, charge := range map[string]func(*tariff){
				"session": chargeSessions, "locks": chargeLocks, "semaphore": chargeSemaphores, "election": chargeElections, "queue": chargeQueues,
				"gates": chargeGates,
			} {
				t.Run(what, func(t *testing.T) {
					g := *f.fixture
					g.T = t
					charge(&tariff{&g, b, f.docs})
				})
			}
		})
	}
}

// away is the fixture with a client whose requests are not counted.
func (f *tariff) away() *fixture {
	uncounted := *f.fixture
	uncounted.client = dial(f.T, f.client.Endpoints()[0])
	return &uncounted
}

func chargeSessions(f *tariff) {
	for what, o := range map[string]*SessionOptions{"": nil, ", with a lock delay": {LockDelay: time.Second}} {
		leases := int64(1)
		if o != nil {
			leases = 2
		}
		var s *Session
		f.charge("`NewSession`"+what, leases, 1, func() (err error) {
			s, err = NewSession(f.Context(), f.client, o)
			return err
		})
		f.charge("`Session.Close`"+what, leases, 0, s.Close)
	}
}

func chargeLocks(f *tariff) {
	ctx, m, rw := f.Context(), f.mutex(f.session, "one"), f.rw(f.session, "two")
	var h, r *Hold
	f.charge("`Lock`, free", 1, 0, into(ctx, &h, m.Lock))
	f.charge("`TryLock`, held", 1, 0, locked(ctx, m.TryLock))
	f.charge("`Verify`", 0, 1, func() error { return h.Verify(ctx) })
	f.charge("`Unlock`", 1, 0, func() error { return h.Unlock(ctx) })
	f.charge("`RWMutex.Lock`, free", 1, 0, into(ctx, &h, rw.Lock))
	f.charge("`Downgrade`", 1, 0, func() (err error) { r, err = rw.Downgrade(ctx, h); return err })
	f.charge("`TryUpgrade`", 1, 0, func() (err error) { h, err = rw.TryUpgrade(ctx, r); return err })
	f.unlock(h)
	f.charge("`RLock`, free", 1, 0, into(ctx, &h, rw.RLock))
	f.unlock(h)

	away := f.away()
	held := f.lock(f.mutex(openSession(f.T, away.client, 60), "one"))
	f.charge("`Lock`, one ahead", 1, -1, func() error {
		later := f.lockLater(ctx, m)
		away.awaitKeys(m.path+queueDir, 2)
		f.unlock(held)
		h = f.await(later)
		return nil
	})
	f.unlock(h)
}

func chargeSemaphores(f *tariff) {
	ctx, s, away := f.Context(), f.semaphore(f.session, 2), f.away()
	var h *Hold
	f.charge("`Acquire`, enough free", 1, 1, into(ctx, &h, acquire(s, 2)))
	f.charge("`TryAcquire`, too little free", 0, 1, locked(ctx, func(ctx context.Context) (*Hold, error) { return s.TryAcquire(ctx, 1) }))
	f.charge("`SetLimit`", 1, 1, func() error { return s.SetLimit(ctx, 2) })
	f.unlock(h)
	held := f.must(f.semaphore(openSession(f.T, away.client, 60), 2).Acquire(ctx, 2))
	f.charge("`Acquire`, to wait", 2, -1, func() error {
		later := f.later(acquire(s, 1))
		away.awaitKeys(s.path+queueDir, 1)
		f.unlock(held)
		h = f.await(later)
		return nil
	})
	f.unlock(h)
}

func chargeElections(f *tariff) {
	ctx, e, away := f.Context(), f.election(f.session), f.away()
	other := f.election(openSession(f.T, away.client, 60))
	var l *Leadership
	f.charge("`Campaign`, nobody leads", 1, 1, func() (err error) { l, err = e.Campaign(ctx, "v"); return err })
	f.charge("`Proclaim`", 1, 0, func() error { return l.Proclaim(ctx, "w") })
	var state LeaderState
	f.charge("`Leader`", 0, 1, into(ctx, &state, e.Leader))
	f.charge("`Resign`", 1, 0, func() error { return l.Resign(ctx) })
	held := f.campaign(other, "v")
	f.charge("`Campaign`, to wait", 2, -1, func() error {
		later := f.campaignLater(ctx, e, "v")
		away.awaitKeys(e.path+queueDir, 2)
		f.resign(held)
		l = f.awaitTerm(later)
		return nil
	})
	later := f.campaignLater(ctx, other, "v")
	waiting := away.awaitStanding(other, 1)
	f.charge("`Transfer`", 1, 1, func() error { return l.Transfer(ctx, waiting[0].Key) })
	f.resign(f.awaitTerm(later))
}

func chargeQueues(f *tariff) {
	ctx, q := f.Context(), f.workQueue(f.session)
	var d *Delivery
	f.charge("`Put`", 1, 1, func() error { _, err := q.Put(ctx, []byte("v")); return err })
	f.charge("`Claim`, an item is there", 1, 2, into(ctx, &d, q.Claim))
	f.charge("`Ack`", 1, 0, func() error { return d.Ack(ctx) })
	f.charge("`TryClaim`, none is there", 0, 1, locked(ctx, q.TryClaim))
}

func chargeGates(f *tariff) {
	ctx, b, l := f.Context(), f.barrier(f.session, "one"), f.latch(f.session, "one")
	d := NewDoubleBarrier(f.session, "one", 1, &DoubleBarrierOptions{Prefix: f.options.Prefix})
	bind := func(call func(context.Context) error) func() error { return func() error { return call(ctx) } }
	f.charge("`Barrier.Hold`", 2, 0, bind(b.Hold))
	f.charge("`Barrier.Release`", 1, 1, bind(b.Release))
	f.charge("`Barrier.Wait`, open", 0, 1, bind(b.Wait))
	var round *Round
	f.charge("`Enter`, alone", 3, 2, into(ctx, &round, d.Enter))
	f.charge("`Leave`, the last", 1, 0, func() error { return round.Leave(ctx) })
	f.charge("`Latch.Set`", 2, 0, func() error { return l.Set(ctx, 1) })
	f.charge("`CountDown`", 1, 1, func() error { return l.CountDown(ctx, "a") })
	f.charge("`CountDown`, again", 0, 1, func() error { return l.CountDown(ctx, "a") })
	f.charge("`Latch.Wait`, open", 0, 1, bind(l.Wait))
	f.charge("`Latch.Delete`", 1, 1, bind(l.Delete))
}
