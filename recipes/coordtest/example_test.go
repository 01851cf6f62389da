package coordtest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/coordtest"
	"github.com/coordd/coordd/recipes/fence"
)

// lead is the program under test: of all that run it one at a time does the work, until ctx ends.
func lead(ctx context.Context, client *clientv3.Client, work func(context.Context)) error {
	for {
		session, err := recipes.NewSession(ctx, client, nil)
		if err != nil {
			return err
		}
		mutex := recipes.NewMutex(session, "scheduler", nil)
		err = mutex.Do(ctx, func(ctx context.Context, _ fence.Token) error {
			work(ctx)
			return ctx.Err()
		})
		session.Close()
		if ctx.Err() != nil || !errors.Is(err, recipes.ErrLost) {
			return err
		}
	}
}

// In a package of your own the function below is a test's; here TestExample runs it.
func Example() {
	_ = func(t *testing.T) { synctest.Test(t, testLeadershipPassesOn) }
}

// A leader that is cut off stops before somebody else leads.
func testLeadershipPassesOn(t *testing.T) {
	server := coordtest.Start(t)
	leaders := make(chan string, 2) // who begins to lead
	stopped := make(chan string, 2) // who has stopped
	start := func(name string) *coordtest.Client {
		client := server.NewClient(t)
		var running sync.WaitGroup
		running.Go(func() {
			lead(t.Context(), client.Client, func(ctx context.Context) {
				leaders <- name
				<-ctx.Done()
				stopped <- name
			})
		})
		t.Cleanup(running.Wait) // t.Context has ended by then; the client has not
		return client
	}

	first := start("first")
	if name := <-leaders; name != "first" {
		t.Fatalf("%s leads", name)
	}
	start("second")
	time.Sleep(time.Hour) // of the bubble: it takes no second
	if len(leaders) > 0 {
		t.Fatal("two lead")
	}

	first.Partition()
	if name := <-leaders; name != "second" {
		t.Fatalf("%s leads", name)
	}
	if len(stopped) == 0 {
		t.Fatal("the first still leads")
	}
	first.Heal()
	time.Sleep(time.Hour)
	if len(leaders) > 0 {
		t.Fatal("two lead")
	}
}
