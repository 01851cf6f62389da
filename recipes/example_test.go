package recipes_test

import (
	"context"
	"fmt"
	"log"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
)

func Example() {
	ctx := context.Background()
	endpoint, err := recipes.ServerEndpoint()
	if err != nil {
		log.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	session, err := recipes.NewSession(ctx, client, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()

	mutex := recipes.NewMutex(session, "jobs/nightly", &recipes.MutexOptions{Reason: "nightly report"})
	hold, err := mutex.Lock(ctx)
	if err != nil {
		log.Fatal(err)
	}
	// The store itself refuses the write of a holder that was overtaken.
	resp, err := client.Txn(ctx).If(hold.Guard()).Then(clientv3.OpPut("report", "done")).Commit()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("written:", resp.Succeeded)
	if err := hold.Unlock(ctx); err != nil {
		log.Fatal(err)
	}

	err = mutex.Do(ctx, func(ctx context.Context, token fence.Token) error {
		later, err := hold.Token().Compare(token)
		fmt.Println("later token:", later < 0)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// written: true
	// later token: true
}

func ExampleElection() {
	ctx := context.Background()
	endpoint, err := recipes.ServerEndpoint()
	if err != nil {
		log.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	session, err := recipes.NewSession(ctx, client, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()

	election := recipes.NewElection(session, "scheduler", nil)
	leadership, err := election.Campaign(ctx, "10.0.0.7:9000")
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
	// written: true
	// leader: 10.0.0.7:9001
	// nobody leads
}
