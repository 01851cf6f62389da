package coordtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/coordtest"
	"github.com/coordd/coordd/recipes/fence"
)

func TestHandoff(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		server := coordtest.Start(t)
		a, b := newUser(t, server, 60), newUser(t, server, 60)
		first := a.lock(t, "job")
		next := b.lockLater(t.Context(), "job")
		awaitQueue(t, a.Client, 2)
		select {
		case <-next:
			t.Fatal("two hold the lock")
		default:
		}
		if err := first.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := <-next
		if second.err != nil {
			t.Fatal(second.err)
		}
		if order, err := first.Token().Compare(second.hold.Token()); err != nil || order >= 0 {
			t.Errorf("the second token compares as %d, %v", order, err)
		}
	})
}

// A holder that is cut off knows that it has lost the lock before anybody else can have it.
func TestPartitionedHolder(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		server := coordtest.Start(t)
		a, b := newUser(t, server, 2), newUser(t, server, 60)
		lost := a.lock(t, "job")
		next := b.lockLater(t.Context(), "job")
		awaitQueue(t, b.Client, 2)
		a.Partition()
		second := <-next
		if err := lost.Valid(); !errors.Is(err, recipes.ErrLost) {
			t.Errorf("two hold the lock: the first is valid, %v", err)
		}
		if second.err != nil {
			t.Fatal(second.err)
		}
		var why *recipes.LostError
		if <-lost.Context().Done(); !errors.As(context.Cause(lost.Context()), &why) || !errors.Is(why, recipes.ErrSessionExpired) {
			t.Errorf("the hold ended with %v", context.Cause(lost.Context()))
		}
		a.Heal()
		if resp, err := a.Txn(t.Context()).If(lost.Guard()).Commit(); err != nil || resp.Succeeded {
			t.Errorf("the store lets the first holder write: %v, %v", resp, err)
		}
	})
}

// How long a hold lasts at least and at most once the line is cut is a matter of the TTL alone.
func TestPartitionedHolderByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 60 * time.Second
		u := newUser(t, coordtest.Start(t), 60)
		hold := u.lock(t, "job")
		time.Sleep(time.Hour)
		if err := hold.Valid(); err != nil {
			t.Fatal(err)
		}
		cut := time.Now()
		u.Partition()
		<-hold.Context().Done()
		if lasted := time.Since(cut); lasted < ttl/2 || lasted > ttl {
			t.Errorf("the hold ended after %v", lasted)
		}
	})
}

func TestShortPartitionCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUser(t, coordtest.Start(t), 60)
		hold := u.lock(t, "job")
		for range 10 {
			u.Partition()
			time.Sleep(25 * time.Second)
			u.Heal()
			time.Sleep(25 * time.Second)
		}
		if err := hold.Verify(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// The lock is taken although the answer that says so is lost, and exactly one place in the queue is left.
func TestLostAnswerToTheEnqueue(t *testing.T) {
	for how, name := range map[coordtest.Loss]string{coordtest.BreakConnection: "broken", coordtest.StaySilent: "silent"} {
		t.Run(name, func(t *testing.T) {
			inAndOut(t, func(t *testing.T) {
				server := coordtest.Start(t)
				u, observer := newUser(t, server, 2), server.NewClient(t)
				u.DropReplies(1, how)
				hold := u.lock(t, "job")
				awaitQueue(t, observer, 1)
				if err := hold.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
				awaitQueue(t, observer, 0)
			})
		})
	}
}

// Who gives up without knowing whether the enqueue was carried out leaves nothing behind.
func TestGivenUpInDoubt(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		server := coordtest.Start(t)
		u, observer := newUser(t, server, 60), server.NewClient(t)
		u.DropReplies(-1, coordtest.StaySilent)
		ctx, cancel := context.WithCancel(t.Context())
		given := u.lockLater(ctx, "job")
		awaitQueue(t, observer, 1)
		cancel()
		u.Heal()
		if o := <-given; !errors.Is(o.err, context.Canceled) {
			t.Errorf("lock: %v", o.err)
		}
		awaitQueue(t, observer, 0)
		if err := u.session.Valid(); err != nil {
			t.Error(err)
		}
	})
}

func TestExpiredLeaseEndsTheHold(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		server := coordtest.Start(t)
		a, b := newUser(t, server, 60), newUser(t, server, 60)
		hold := a.lock(t, "job")
		next := b.lockLater(t.Context(), "job")
		awaitQueue(t, a.Client, 2)
		server.ExpireLease(a.session.Lease())
		<-hold.Context().Done()
		var why *recipes.LostError
		if !errors.As(context.Cause(hold.Context()), &why) {
			t.Errorf("the hold ended with %v", context.Cause(hold.Context()))
		}
		if o := <-next; o.err != nil {
			t.Error(o.err)
		}
	})
}

// Many at once, one of them cut off now and then: never two at a time.
func TestContention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const users, rounds = 8, 20
		server := coordtest.Start(t)
		var inside, held atomic.Int32
		var done sync.WaitGroup
		for i := range users {
			u := newUser(t, server, 30)
			done.Go(func() {
				for round := range rounds {
					err := u.mutex("job").Do(t.Context(), func(ctx context.Context, _ fence.Token) error {
						if n := inside.Add(1); n != 1 {
							t.Errorf("%d hold the lock", n)
						}
						held.Add(1)
						if (i+round)%5 == 0 {
							u.Partition()
							time.Sleep(5 * time.Second)
							u.Heal()
						}
						time.Sleep(time.Second)
						inside.Add(-1)
						return nil
					})
					if err != nil {
						t.Error(fmt.Errorf("user %d, round %d: %w", i, round, err))
					}
				}
			})
		}
		done.Wait()
		if n := held.Load(); n != users*rounds {
			t.Errorf("held %d times", n)
		}
	})
}
