package recipes_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
)

func ExampleElection() {
	ctx := context.Background()
	client, session, done := begin(ctx)
	defer done()

	election := recipes.NewElection(session, "scheduler", nil)
	leadership, err := election.Campaign(ctx, "10.0.0.7:9000") // waits until elected
	if err != nil {
		log.Fatal(err)
	}
	// Lead until leadership.Context() is done. What only the leader may write, the store itself refuses to others.
	resp, err := client.Txn(ctx).If(leadership.Guard()).Then(clientv3.OpPut("plan", "v1")).Commit()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("written:", resp.Succeeded)
	if err := leadership.Proclaim(ctx, "10.0.0.7:9001"); err != nil {
		log.Fatal(err)
	}
	if err := leadership.Resign(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// written: true
}

// Whoever is not a candidate follows who leads, and learns that nobody does.
func ExampleElection_Observe() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	election := recipes.NewElection(session, "database", nil)
	leadership, err := election.Campaign(ctx, "db-1")
	if err != nil {
		log.Fatal(err)
	}
	for state, err := range election.Observe(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if state.KV == nil {
			fmt.Println("nobody leads")
			break
		}
		fmt.Println("leader:", string(state.KV.Value))
		if err := leadership.Resign(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// leader: db-1
	// nobody leads
}

// Run leads, and stands again after each term, until lead fails or the session ends.
func ExampleElection_Run() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	election := recipes.NewElection(session, "scheduler", nil)
	shutdown := errors.New("shutdown")
	terms := 0
	err := election.Run(ctx, "10.0.0.7:9000", func(ctx context.Context, leadership *recipes.Leadership) error {
		if terms++; terms == 2 {
			return shutdown
		}
		fmt.Println("leading") // until ctx ends
		return nil
	})
	fmt.Println(err)
	// Output:
	// leading
	// shutdown
}

// A leader that is to be restarted hands over to the candidate that it chooses.
func ExampleLeadership_Transfer() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	election := recipes.NewElection(session, "primary", nil)
	leadership, err := election.Campaign(ctx, "a")
	if err != nil {
		log.Fatal(err)
	}
	elected := make(chan *recipes.Leadership)
	go func() { // in another program
		next, err := election.Campaign(ctx, "b")
		if err != nil {
			log.Fatal(err)
		}
		elected <- next
	}()

	candidate := ""
	for candidate == "" {
		places, err := election.Places(ctx)
		if err != nil {
			log.Fatal(err)
		}
		for _, p := range places {
			if p.State == recipes.Waiting && p.Value == "b" {
				candidate = p.Key
			}
		}
	}
	if err := leadership.Transfer(ctx, candidate); err != nil {
		log.Fatal(err)
	}
	next := <-elected
	order, err := next.Token().Compare(leadership.Token())
	fmt.Println("later token:", order > 0, err)
	if err := next.Resign(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// later token: true <nil>
}

// What a consumer gave back, or held when it died, is delivered again.
func ExampleQueue() {
	ctx := context.Background()
	_, session, done := begin(ctx)
	defer done()

	queue := recipes.NewQueue(session, "mails", nil)
	if _, err := queue.Put(ctx, []byte("to ada")); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		delivery, err := queue.Claim(ctx) // waits for an item
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s, claim %d\n", delivery.Value, delivery.Claims)
		if delivery.Claims == 1 {
			err = delivery.Unlock(ctx) // gives it back
		} else {
			err = delivery.Ack(ctx) // it is done
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	left, err := queue.Len(ctx)
	fmt.Println(left, err)
	// Output:
	// to ada, claim 1
	// to ada, claim 2
	// 0 <nil>
}
