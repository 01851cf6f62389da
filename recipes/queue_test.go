package recipes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (f *fixture) workQueue(s *Session) *Queue {
	return NewQueue(s, "work", &QueueOptions{Prefix: f.options.Prefix})
}

func (f *fixture) put(q *Queue, values ...string) {
	f.Helper()
	for _, v := range values {
		if _, err := q.Put(f.Context(), []byte(v)); err != nil {
			f.Fatal(err)
		}
	}
}

func (f *fixture) claim(q *Queue) *Delivery {
	f.Helper()
	d, err := q.Claim(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return d
}

func (f *fixture) ack(d *Delivery) {
	f.Helper()
	if err := d.Ack(f.Context()); err != nil {
		f.Fatal(err)
	}
}

func TestItemsAreDeliveredInOrderAndAgain(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		q, ctx := f.workQueue(f.session), f.Context()
		if _, err := q.TryClaim(ctx); !errors.Is(err, ErrLocked) {
			f.Fatalf("TryClaim of an empty queue: %v", err)
		}
		f.put(q, "a", "b")
		crashing := openSession(f.T, f.client, 60)
		a, b := f.claim(f.workQueue(crashing)), f.claim(q)
		if string(a.Value) != "a" || string(b.Value) != "b" || a.Claims != 1 {
			f.Fatalf("claimed %q the %d. time and %q", a.Value, a.Claims, b.Value)
		}
		f.ack(b)
		if _, err := f.client.Revoke(ctx, crashing.Lease()); err != nil {
			f.Fatal(err)
		}
		again := f.claim(q)
		if string(again.Value) != "a" || again.Claims != 2 {
			f.Errorf("claimed %q the %d. time", again.Value, again.Claims)
		}
		if order, err := a.Token().Compare(again.Token()); err != nil || order >= 0 {
			f.Errorf("tokens %s and %s", a.Token(), again.Token())
		}
		<-a.Context().Done()
		if err := a.Ack(ctx); !errors.Is(err, ErrLost) {
			f.Errorf("the dead consumer acknowledges: %v", err)
		}
		f.put(q, "c")
		f.unlock(again.Hold) // it gives the item back
		if last := f.claim(q); string(last.Value) != "a" || last.Claims != 3 {
			f.Errorf("claimed %q the %d. time", last.Value, last.Claims)
		} else {
			f.ack(last)
		}
		f.ack(f.claim(q))
		if n, err := q.Len(ctx); n != 0 || err != nil {
			f.Errorf("%d items are left, %v", n, err)
		}
	})
}

func TestConsumersWaitInTurn(t *testing.T) {
	f := newFixture(t)
	q := f.workQueue(f.session)
	type claimed struct {
		who int
		d   *Delivery
		err error
	}
	done := make(chan claimed, 2)
	for who := range 2 {
		go func() {
			d, err := q.Claim(t.Context())
			done <- claimed{who, d, err}
		}()
		f.awaitKeys(q.path+queueDir, who+1)
	}
	for want := range 2 {
		f.put(q, fmt.Sprint(want))
		got := <-done
		if got.err != nil || got.who != want || string(got.d.Value) != fmt.Sprint(want) {
			t.Fatalf("consumer %d got %v, %v", got.who, got.d, got.err)
		}
		f.ack(got.d)
	}
}

// More items are claimed than a consumer looks at first.
func TestClaimBehindManyClaims(t *testing.T) {
	f := newFixture(t)
	q := f.workQueue(f.session)
	for i := range 2*firstItems + 3 {
		f.put(q, fmt.Sprint(i))
		if d := f.claim(q); string(d.Value) != fmt.Sprint(i) {
			t.Fatalf("claimed %q, want %d", d.Value, i)
		}
	}
}

// Answers are lost, and every item is put once, claimed by one at a time and acknowledged.
func TestQueueWithLostAnswers(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	faults.set(everyNthReplyLostOf(5, func(*pb.TxnRequest) bool { return true }))
	q := f.workQueue(f.session)
	const producers, consumers, each = 3, 3, 10
	var mu sync.Mutex
	acked := map[string]int{}
	ctx, cancel := context.WithCancel(t.Context())
	var producing, consuming sync.WaitGroup
	doubts := 0
	for p := range producers {
		producing.Go(func() {
			for i := range each {
				_, err := q.Put(ctx, fmt.Appendf(nil, "%d/%d", p, i))
				mu.Lock()
				if errors.Is(err, ErrInDoubt) {
					doubts++
				} else if err != nil {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	left := make(chan struct{}, producers*each)
	for range consumers {
		consuming.Go(func() {
			for {
				d, err := q.Claim(ctx)
				if err != nil {
					return
				}
				// Beyond ctx: it can be of an item that was put in doubt, and is not waited for.
				if err := d.Ack(t.Context()); err != nil && !errors.Is(err, ErrLost) {
					t.Error(err)
				}
				mu.Lock()
				acked[string(d.Value)]++
				mu.Unlock()
				left <- struct{}{}
			}
		})
	}
	producing.Wait()
	for range producers*each - doubts {
		<-left
	}
	faults.set(nil)
	cancel()
	consuming.Wait()
	var twice []string
	for item, times := range acked {
		if times > 1 {
			twice = append(twice, item)
		}
	}
	if len(twice) > 0 || len(acked) < producers*each-doubts {
		t.Errorf("%d items acknowledged, %s twice; %d puts in doubt", len(acked), strings.Join(twice, " "), doubts)
	}
}
