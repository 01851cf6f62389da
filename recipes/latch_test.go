package recipes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (f *fixture) latch(s *Session, name string) *Latch {
	return NewLatch(s, name, &LatchOptions{Prefix: f.options.Prefix})
}

func (f *fixture) set(l *Latch, count int) {
	f.Helper()
	if err := l.Set(f.Context(), count); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) remaining(l *Latch, want int) {
	f.Helper()
	if got, err := l.Count(f.Context()); err != nil || got != want {
		f.Fatalf("%d operations remain, %v, want %d", got, err, want)
	}
}

func TestLatch(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		ctx := f.Context()
		l := f.latch(f.session, "one")
		countDown := func(id string) func() error { return func() error { return l.CountDown(ctx, id) } }
		for what, err := range map[string]error{"Wait": l.Wait(ctx), "CountDown": l.CountDown(ctx, "a")} {
			if !errors.Is(err, ErrNoLatch) {
				f.Errorf("%s of no latch: %v", what, err)
			}
		}
		f.commits("Set", 2, func() error { return l.Set(ctx, 2) })
		f.commits("Set again", 0, func() error { return l.Set(ctx, 2) })
		if err := l.Set(ctx, 3); !errors.Is(err, ErrLatchCount) {
			f.Errorf("Set with another count: %v", err)
		}
		waiter := later(func() error { return f.latch(openSession(f.T, f.client, 60), "one").Wait(ctx) })
		f.commits("CountDown", 1, countDown("a"))
		f.commits("CountDown again", 0, countDown("a"))
		f.remaining(l, 1)
		f.pending("Wait for a closed latch", waiter)
		f.commits("the last CountDown", 1, countDown("a/b"))
		if err := <-waiter; err != nil {
			f.Error(err)
		}
		f.commits("CountDown of an open latch", 0, countDown("c"))
		f.commits("Wait for an open latch", 0, func() error { return l.Wait(ctx) })
		f.commits("Delete", 1, func() error { return l.Delete(ctx) })
		f.commits("Delete of no latch", 0, func() error { return l.Delete(ctx) })
		if keys := f.below(l.path); len(keys) != 0 {
			f.Errorf("left behind: %v", keys)
		}
	})
}

// What was counted lasts longer than the sessions of those who counted.
func TestLatchOutlivesSessions(t *testing.T) {
	f := newFixture(t)
	worker := openSession(t, f.client, 60)
	f.set(f.latch(worker, "one"), 2)
	if err := f.latch(worker, "one").CountDown(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := worker.Close(); err != nil {
		t.Fatal(err)
	}
	f.remaining(f.latch(f.session, "one"), 1)
}

func TestLatchDeletedWhileWaiting(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		l := f.latch(f.session, "one")
		f.set(l, 2)
		waiter := later(func() error { return l.Wait(f.Context()) })
		if err := l.Delete(f.Context()); err != nil {
			f.Fatal(err)
		}
		if err := <-waiter; !errors.Is(err, ErrNoLatch) {
			f.Errorf("Wait returned %v", err)
		}
	})
}

// Each of the operations is counted twice, by two of many workers, with answers lost on the way.
func TestLatchCountsOperationsOnce(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		const operations, workers = 40, 8
		l := f.latch(f.session, "one")
		f.set(l, operations+1)
		faults.set(everyNthWriteAnsweredLate(3))
		waiter := later(func() error { return l.Wait(f.Context()) })
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range 2 * operations / workers {
					id := fmt.Sprint((w*operations/workers + i) % operations)
					if err := l.CountDown(f.Context(), id); err != nil {
						f.Errorf("%s: %v", id, err)
					}
				}
			})
		}
		wg.Wait()
		f.remaining(l, 1)
		f.pending("Wait for a closed latch", waiter)
		if err := l.CountDown(f.Context(), "the last"); err != nil {
			f.Fatal(err)
		}
		if err := <-waiter; err != nil {
			f.Fatal(err)
		}
	})
}

func TestLatchLateDuplicates(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		var late duplicates
		faults.set(late.fault)
		l := f.latch(f.session, "one")
		for range 2 {
			f.set(l, 2)
			late.arrive(f)
			f.remaining(l, 2)
			if err := l.CountDown(f.Context(), "a"); err != nil {
				f.Fatal(err)
			}
			late.arrive(f)
			f.remaining(l, 1)
			if err := l.Delete(f.Context()); err != nil {
				f.Fatal(err)
			}
			late.arrive(f)
			if _, err := l.Count(f.Context()); !errors.Is(err, ErrNoLatch) {
				f.Fatalf("a late request brought the latch back: %v", err)
			}
		}
	})
}

func TestD5LatchWaitWithBrokenWatches(t *testing.T) {
	for name := range stores {
		t.Run(name, func(t *testing.T) {
			f := newFixtureOn(t, name)
			l := f.latch(f.session, "one")
			f.set(l, 2)
			option, mended := breakingWatches(2)
			proxy := newProxy(t, startStore(t, name))
			other := openSession(t, dial(t, proxy.endpoint(), option), 60)
			waiter := later(func() error { return f.latch(other, "one").Wait(t.Context()) })
			<-mended
			if err := l.CountDown(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			f.compactBehind(proxy, other)
			f.pending("Wait for a closed latch", waiter)
			if err := l.CountDown(t.Context(), "b"); err != nil {
				t.Fatal(err)
			}
			if err := <-waiter; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A wait takes in the changes and reads the store but once.
func TestLatchWaitReadsOnce(t *testing.T) {
	const operations = 50
	reads := make(chan struct{}, 10*operations)
	var faults faults
	f := newFixture(t, faults.option())
	l := f.latch(f.session, "one")
	f.set(l, operations)
	faults.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		if !isWrite(req) {
			reads <- struct{}{}
		}
		return send(ctx)
	})
	waiter := later(func() error { return l.Wait(t.Context()) })
	<-reads
	worker := f.latch(openSession(t, dial(t, startServer(t)), 60), "one")
	for i := range operations {
		if err := worker.CountDown(t.Context(), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-waiter; err != nil {
		t.Fatal(err)
	}
	if n := len(reads); n != 0 {
		t.Errorf("%d more reads", n)
	}
}

// What is counted between the creation of the watch and the read that follows it comes by both, and counts once.
func TestLatchWaitCountsChangesOnce(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		l := f.latch(f.session, "one")
		f.set(l, 3)
		worker := f.latch(openSession(f.T, dial(f.T, f.client.Endpoints()[0]), 60), "one")
		countDown := func(id string) {
			if err := worker.CountDown(f.Context(), id); err != nil {
				f.Fatal(err)
			}
		}
		look, proceed := faults.holdUp(func(req *pb.TxnRequest) bool { return !isWrite(req) })
		waiter := later(func() error { return l.Wait(f.Context()) })
		<-look
		at := f.revision()
		countDown("a")
		countDown("b")
		proceed()
		for resp := range f.client.Watch(f.Context(), l.done(), clientv3.WithPrefix(), clientv3.WithRev(at)) {
			if len(resp.Events) > 0 { // by the stream of the one who waits
				break
			}
		}
		f.pending("Wait with one operation to go", waiter)
		countDown("c")
		if err := <-waiter; err != nil {
			f.Fatal(err)
		}
	})
}

func TestAfter(t *testing.T) {
	var events []*clientv3.Event
	for _, revision := range []int64{3, 3, 5} {
		kv := newKeyValue("k", "")
		kv.ModRevision = revision
		events = append(events, &clientv3.Event{Kv: kv})
	}
	for revision, want := range map[int64]int{0: 3, 2: 3, 3: 1, 4: 1, 5: 0, 6: 0} {
		if got := len(after(revision, events)); got != want {
			t.Errorf("%d events after revision %d, want %d", got, revision, want)
		}
	}
}
