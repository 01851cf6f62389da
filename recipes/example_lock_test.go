package recipes_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
)

// A job that is skipped when it runs elsewhere.
func ExampleMutex_TryLock() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	mutex := recipes.NewMutex(session, "jobs/hourly", nil)
	hold, err := mutex.TryLock(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer hold.Unlock(ctx)

	_, err = mutex.TryLock(ctx) // of this program or of another
	if errors.Is(err, recipes.ErrLocked) {
		fmt.Println("it runs elsewhere")
	}
	// Output:
	// it runs elsewhere
}

// Do releases when the function has returned, never before, and tells of a loss even if the function did not fail.
func ExampleMutex_Do() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	mutex := recipes.NewMutex(session, "jobs/daily", nil)
	err := mutex.Do(ctx, func(ctx context.Context, token fence.Token) error {
		fmt.Println("holding", token.Fields().Resource) // stop when ctx ends
		return nil
	})
	fmt.Println(err)
	// Output:
	// holding /coordd/locks/jobs%2Fdaily
	// <nil>
}

// A writer publishes a configuration and goes on reading it, without another writer in between.
func ExampleRWMutex() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	config := recipes.NewRWMutex(session, "config", nil)
	writing, err := config.Lock(ctx)
	if err != nil {
		log.Fatal(err)
	}
	reading, err := config.Downgrade(ctx, writing) // writing is over
	if err != nil {
		log.Fatal(err)
	}
	beside, err := config.RLock(ctx)
	if err != nil {
		log.Fatal(err)
	}
	_, err = config.TryUpgrade(ctx, reading)
	fmt.Println("upgraded beside another reader:", !errors.Is(err, recipes.ErrLocked))
	fmt.Println("still reading:", reading.Valid() == nil)
	if err := errors.Join(beside.Unlock(ctx), reading.Unlock(ctx)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// upgraded beside another reader: false
	// still reading: true
}

// Three builds at a time; the limit stands in the store and is changed while builds run.
func ExampleSemaphore() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	builders := recipes.NewSemaphore(session, "builders", &recipes.SemaphoreOptions{Limit: 3})
	large, err := builders.Acquire(ctx, 2)
	if err != nil {
		log.Fatal(err)
	}
	for token := range large.Tokens() {
		fmt.Println("slot", token.Fields().Slot)
	}
	small, err := builders.Acquire(ctx, 1)
	if err != nil {
		log.Fatal(err)
	}
	_, err = builders.TryAcquire(ctx, 1)
	fmt.Println("full:", errors.Is(err, recipes.ErrLocked))

	if err := builders.SetLimit(ctx, 4); err != nil {
		log.Fatal(err)
	}
	another, err := builders.TryAcquire(ctx, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("slot", another.Token().Fields().Slot)
	if err := errors.Join(large.Unlock(ctx), small.Unlock(ctx), another.Unlock(ctx)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// slot 0
	// slot 1
	// full: true
	// slot 3
}

// Two accounts are locked together; in whatever order they are named, nobody waits in a circle.
func ExampleLockAll() {
	ctx := context.Background()
	client, session, done := begin(ctx)
	defer done()

	from, to := recipes.NewMutex(session, "account/7", nil), recipes.NewMutex(session, "account/3", nil)
	holds, err := recipes.LockAll(ctx, from, to)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := client.Txn(ctx).If(holds.Guards()...).Commit()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("both held:", resp.Succeeded)
	if err := holds.Unlock(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// both held: true
}

// Whoever waits sees who holds, since when and why, and asks for the lock.
func ExampleSession_AskToRelease() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	mutex := recipes.NewMutex(session, "maintenance", &recipes.MutexOptions{Reason: "reindexing"})
	hold, err := mutex.Lock(ctx)
	if err != nil {
		log.Fatal(err)
	}

	places, err := mutex.Places(ctx) // in another program
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(places[0].State, "for", places[0].Holder.Reason)
	if err := session.AskToRelease(ctx, places[0], "an urgent restart"); err != nil {
		log.Fatal(err)
	}

	<-hold.ReleaseAsked() // in the holder; to follow is its choice
	fmt.Println("asked for", hold.Asker().Reason)
	if err := hold.Unlock(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// holding for reindexing
	// asked for an urgent restart
}

// A holder is overtaken without noticing, and the resource refuses its late write.
func ExampleHold_Token() {
	ctx := context.Background()
	client, session, done := begin(ctx)
	defer done()

	mutex := recipes.NewMutex(session, "report", nil)
	paused, err := mutex.Lock(ctx)
	if err != nil {
		log.Fatal(err)
	}
	guard := fence.NewGuard(paused.Token().Fields().Resource) // kept where the report is
	if err := guard.Advance(paused.Token()); err != nil {     // before the first read
		log.Fatal(err)
	}

	client.Delete(ctx, paused.Key()) // as when its lease runs out
	next, err := mutex.Lock(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := guard.Advance(next.Token()); err != nil {
		log.Fatal(err)
	}
	err = guard.Do(paused.Token(), func() error { panic("not reached") })
	fmt.Println("refused:", errors.Is(err, fence.ErrStale))
	if err := next.Unlock(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// refused: true
}
