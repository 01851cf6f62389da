package coordtest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/proto/v3lockpb"
	"github.com/coordd/coordd/recipes/coordtest"
)

func TestUnusedServer(t *testing.T) {
	inAndOut(t, func(t *testing.T) { coordtest.Start(t) })
}

func TestServersAreApart(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		a, b := coordtest.Start(t).NewClient(t), coordtest.Start(t).NewClient(t)
		put(t, a, "key", "a")
		if v := get(t, b, "key"); v != "" {
			t.Errorf("the other server has %q", v)
		}
	})
}

func TestClientsOfOneServer(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		server := coordtest.Start(t)
		a, b := server.NewClient(t), server.NewClient(t)
		put(t, a, "key", "a")
		a.Partition()
		if v := get(t, b, "key"); v != "a" {
			t.Errorf("the other client reads %q", v)
		}
		put(t, b, "key", "b")
		a.Heal()
		if v := get(t, a, "key"); v != "b" {
			t.Errorf("the client reads %q", v)
		}
	})
}

func TestLeaseRunsOutByTheBubblesClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := coordtest.Start(t).NewClient(t)
		lease, err := c.Grant(t.Context(), 3600)
		if err != nil {
			t.Fatal(err)
		}
		put(t, c, "key", "value", clientv3.WithLease(lease.ID))
		time.Sleep(time.Hour - time.Second)
		if get(t, c, "key") == "" {
			t.Error("the lease has ended early")
		}
		time.Sleep(2 * time.Second)
		if get(t, c, "key") != "" {
			t.Error("the lease has not ended")
		}
	})
}

func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := coordtest.Start(t).NewClient(t)
		put(t, c, "key", "before")
		c.Partition()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cut := time.Now()
		if _, err := c.Get(ctx, "key"); !errors.Is(err, context.DeadlineExceeded) || time.Since(cut) != time.Minute {
			t.Errorf("after %v: %v", time.Since(cut), err)
		}
		c.Break() // the way back is cut, too
		unanswered := make(chan error, 1)
		go func() {
			_, err := c.Get(t.Context(), "key")
			unanswered <- err
		}()
		time.Sleep(time.Hour) // connections are tried and given up, by both ends
		select {
		case err := <-unanswered:
			t.Errorf("in the partition: %v", err)
		default:
		}
		c.Heal()
		if err := <-unanswered; err != nil {
			t.Error(err)
		}
	})
}

func TestDropReplies(t *testing.T) {
	for how, name := range map[coordtest.Loss]string{coordtest.BreakConnection: "broken", coordtest.StaySilent: "silent"} {
		t.Run(name, func(t *testing.T) {
			inAndOut(t, func(t *testing.T) {
				server := coordtest.Start(t)
				c, other := server.NewClient(t), server.NewClient(t)
				put(t, c, "key", "before")
				c.DropReplies(2, how)
				for _, value := range []string{"one", "two"} {
					ctx, cancel := context.WithCancel(t.Context())
					stop := cancelWhen(ctx, cancel, other, "key", value, how)
					_, err := c.Put(ctx, "key", value)
					if code := status.Code(err); code != codes.Unavailable && code != codes.Canceled && !errors.Is(err, context.Canceled) {
						t.Errorf("put: %v", err)
					}
					stop()
					if v := get(t, other, "key"); v != value {
						t.Errorf("the store has %q, not %q", v, value)
					}
				}
				put(t, c, "key", "three")
			})
		})
	}
}

// cancelWhen cancels a call that nobody will answer once another client sees what it did.
func cancelWhen(ctx context.Context, cancel func(), c *coordtest.Client, key, value string, how coordtest.Loss) (stop func()) {
	if how != coordtest.StaySilent {
		return cancel
	}
	created, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for resp := range c.Watch(ctx, key, clientv3.WithCreatedNotify()) {
			if resp.Created {
				close(created)
			}
			for _, e := range resp.Events {
				if string(e.Kv.Value) == value {
					cancel()
				}
			}
		}
	}()
	<-created
	return func() {
		cancel()
		<-done
	}
}

func TestWatchResumes(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		server := coordtest.Start(t)
		watcher, writer := server.NewClient(t), server.NewClient(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		events := watcher.Watch(ctx, "key", clientv3.WithCreatedNotify())
		<-events
		put(t, writer, "key", "1")
		watcher.Break()
		put(t, writer, "key", "2")
		watcher.Partition()
		put(t, writer, "key", "3")
		watcher.Break()
		watcher.Heal()
		put(t, writer, "key", "4")
		var seen []string
		for resp := range events {
			if err := resp.Err(); err != nil {
				t.Fatal(err)
			}
			for _, e := range resp.Events {
				seen = append(seen, string(e.Kv.Value))
			}
			if len(seen) >= 4 {
				break
			}
		}
		if want := []string{"1", "2", "3", "4"}; !slices.Equal(seen, want) {
			t.Errorf("seen %q, want %q", seen, want)
		}
	})
}

func TestPause(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		server := coordtest.Start(t)
		a, b := server.NewClient(t), server.NewClient(t)
		put(t, a, "key", "before")
		server.Pause()
		server.Pause()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := b.Get(ctx, "key"); err == nil {
			t.Error("a paused server answers")
		}
		answered := make(chan error, 1)
		go func() {
			_, err := a.Put(t.Context(), "key", "after")
			answered <- err
		}()
		server.Resume()
		server.Resume()
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if v := get(t, b, "key"); v != "after" {
			t.Errorf("the store has %q", v)
		}
	})
}

func TestLeasesInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := coordtest.Start(t)
		short, long := newUser(t, server, 30), newUser(t, server, 300)
		holds := []interface{ Valid() error }{short.lock(t, "short"), long.lock(t, "long")}
		server.Pause()
		time.Sleep(time.Minute)
		if err := holds[0].Valid(); err == nil {
			t.Error("valid without a renewal for twice the TTL")
		}
		server.Resume()
		synctest.Wait()
		if _, err := short.KeepAliveOnce(t.Context(), short.session.Lease()); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Errorf("the lease that ran out: %v", err)
		}
		if err := holds[1].Valid(); err != nil {
			t.Error(err)
		}
	})
}

// failing is a testing.TB that notes failures.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Errorf(string, ...any) { f.failed = true }

func TestExpireLease(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		tb := &failing{TB: t}
		server := coordtest.Start(tb)
		c := server.NewClient(t)
		lease, err := c.Grant(t.Context(), 60)
		if err != nil {
			t.Fatal(err)
		}
		put(t, c, "key", "value", clientv3.WithLease(lease.ID))
		server.Pause()
		server.ExpireLease(lease.ID)
		server.Resume()
		if v := get(t, c, "key"); v != "" || tb.failed {
			t.Errorf("failed %t; the key is left: %q", tb.failed, v)
		}
		if server.ExpireLease(lease.ID); !tb.failed {
			t.Error("a lease ended twice")
		}
	})
}

// An idle server lets the bubble come to rest, and hours pass.
func TestIdleHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := coordtest.Start(t).NewClient(t)
		put(t, c, "key", "value")
		synctest.Wait()
		time.Sleep(3 * time.Hour)
		if v := get(t, c, "key"); v != "value" {
			t.Errorf("after three hours: %q", v)
		}
	})
}

func TestExample(t *testing.T) { synctest.Test(t, testLeadershipPassesOn) }

// Programs that are written with etcd's own library can be tested as well.
func TestEtcdsLibrary(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		server := coordtest.Start(t)
		elect := func() (*coordtest.Client, *concurrency.Session, *concurrency.Election) {
			c := server.NewClient(t)
			session, err := concurrency.NewSession(c.Client, concurrency.WithTTL(2))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { session.Close() })
			return c, session, concurrency.NewElection(session, "/scheduler")
		}
		a, sessionA, first := elect()
		_, _, second := elect()
		if err := first.Campaign(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
		a.Partition()
		if err := second.Campaign(t.Context(), "second"); err != nil {
			t.Fatal(err)
		}
		<-sessionA.Done()
		a.Heal()
		if leader, err := first.Leader(t.Context()); err != nil || string(leader.Kvs[0].Value) != "second" {
			t.Errorf("%v leads, %v", leader, err)
		}
	})
}

// The lock service waits on the server's side.
func TestLockService(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		server := coordtest.Start(t)
		a, b := server.NewClient(t), server.NewClient(t)
		lease, err := a.Grant(t.Context(), 60)
		if err != nil {
			t.Fatal(err)
		}
		locked, err := v3lockpb.NewLockClient(a.ActiveConnection()).Lock(t.Context(), &v3lockpb.LockRequest{Name: []byte("job"), Lease: int64(lease.ID)})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() {
			_, err := v3lockpb.NewLockClient(b.ActiveConnection()).Lock(t.Context(), &v3lockpb.LockRequest{Name: []byte("job")})
			got <- err
		}()
		events := a.Watch(t.Context(), "job/", clientv3.WithPrefix(), clientv3.WithRev(locked.Header.Revision+1))
		if resp := <-events; len(resp.Events) != 1 || !resp.Events[0].IsCreate() {
			t.Fatalf("the other has not entered the queue: %v", resp)
		}
		server.ExpireLease(lease.ID)
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}
