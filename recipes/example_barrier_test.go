package recipes_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/coordd/coordd/recipes"
)

// While the schema is migrated, nobody goes on.
func ExampleBarrier() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	barrier := recipes.NewBarrier(session, "schema", &recipes.BarrierOptions{Reason: "migration to 42"})
	if err := barrier.Hold(ctx); err != nil {
		log.Fatal(err)
	}
	var others sync.WaitGroup
	others.Go(func() { // in each of the other programs
		if err := barrier.Wait(ctx); err != nil {
			log.Fatal(err)
		}
		fmt.Println("going on")
	})
	fmt.Println("migrated")
	if err := barrier.Release(ctx); err != nil {
		log.Fatal(err)
	}
	others.Wait()
	// Output:
	// migrated
	// going on
}

// Three workers begin each step together and end it together.
func ExampleDoubleBarrier() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	const parties = 3
	barrier := recipes.NewDoubleBarrier(session, "step", parties, nil)
	work := func() error {
		round, err := barrier.Enter(ctx)
		if err != nil {
			return err // on ErrBarrierBroken, enter again
		}
		fmt.Println("all are in")
		return round.Leave(ctx)
	}
	var workers sync.WaitGroup
	for range parties {
		workers.Go(func() {
			if err := work(); err != nil {
				log.Fatal(err)
			}
		})
	}
	workers.Wait()
	// Output:
	// all are in
	// all are in
	// all are in
}

// The index is complete when each shard was built, by whomever and however often.
func ExampleLatch() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	shards := []string{"a-h", "i-p", "q-z"}
	latch := recipes.NewLatch(session, "index/2026-11-21", nil)
	if err := latch.Set(ctx, len(shards)); err != nil { // everybody may
		log.Fatal(err)
	}
	for _, shard := range []string{"a-h", "i-p", "i-p", "q-z"} { // one was built twice
		if err := latch.CountDown(ctx, shard); err != nil {
			log.Fatal(err)
		}
		remaining, err := latch.Count(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("built", shard, "and", remaining, "to go")
	}
	if err := latch.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	if err := latch.Delete(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// built a-h and 2 to go
	// built i-p and 1 to go
	// built i-p and 1 to go
	// built q-z and 0 to go
}
