package recipes_test

import (
	"context"
	"fmt"
	"log"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
)

// begin is how the examples begin: with a client of the store and a session.
func begin(ctx context.Context) (client *clientv3.Client, session *recipes.Session, done func()) {
	endpoint, err := recipes.ServerEndpoint()
	if err != nil {
		log.Fatal(err)
	}
	client, err = clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		log.Fatal(err)
	}
	session, err = recipes.NewSession(ctx, client, nil)
	if err != nil {
		log.Fatal(err)
	}
	return client, session, func() {
		session.Close()
		client.Close()
	}
}

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

	session, err := recipes.NewSession(ctx, client, nil) // a lease, kept alive
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
	// Output:
	// written: true
}

// Run begins anew with another session when one is lost.
func ExampleRun() {
	ctx := context.Background()
	client, _, done := begin(ctx)
	defer done()

	options := &recipes.SessionOptions{TTLSeconds: 5, Identity: "worker-7"}
	terms := 0
	err := recipes.Run(ctx, client, options, func(ctx context.Context, session *recipes.Session) error {
		if terms++; terms == 1 {
			client.Revoke(ctx, session.Lease()) // as if the machine had been cut off for too long
		}
		return recipes.NewMutex(session, "worker", nil).Do(ctx, func(ctx context.Context, token fence.Token) error {
			fmt.Println("working in session", terms)
			return nil
		})
	})
	fmt.Println(err)
	// Output:
	// working in session 2
	// <nil>
}
