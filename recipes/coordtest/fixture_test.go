package coordtest_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/coordtest"
)

// inAndOut runs a test in a bubble, and outside of one: there it takes the time it takes, and awaits events only.
func inAndOut(t *testing.T, test func(*testing.T)) {
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, test) })
	t.Run("real time", func(t *testing.T) {
		t.Parallel()
		test(t)
	})
}

// user is a client with a session.
type user struct {
	*coordtest.Client
	session *recipes.Session
}

func newUser(t *testing.T, s *coordtest.Server, ttlSeconds int64) *user {
	t.Helper()
	c := s.NewClient(t)
	session, err := recipes.NewSession(t.Context(), c.Client, &recipes.SessionOptions{TTLSeconds: ttlSeconds})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return &user{c, session}
}

func (u *user) mutex(name string) *recipes.Mutex { return recipes.NewMutex(u.session, name, nil) }

func (u *user) lock(t *testing.T, name string) *recipes.Hold {
	t.Helper()
	h, err := u.mutex(name).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

type outcome struct {
	hold *recipes.Hold
	err  error
}

// lockLater locks beside the test and delivers the outcome.
func (u *user) lockLater(ctx context.Context, name string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		h, err := u.mutex(name).Lock(ctx)
		done <- outcome{h, err}
	}()
	return done
}

// awaitQueue returns when n stand in the queues of all locks.
func awaitQueue(t *testing.T, c *coordtest.Client, n int) {
	t.Helper()
	const locks = "/coordd/locks/"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range c.Watch(ctx, locks, clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
		resp, err := c.Get(ctx, locks, clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, kv := range resp.Kvs {
			if strings.Contains(string(kv.Key), "/q/") {
				found++
			}
		}
		if found == n {
			return
		}
	}
	t.Fatal("the watch of the queue broke")
}

func put(t *testing.T, c *coordtest.Client, key, value string, options ...clientv3.OpOption) {
	t.Helper()
	if _, err := c.Put(t.Context(), key, value, options...); err != nil {
		t.Fatal(err)
	}
}

// get returns a key's value, "" when there is no such key.
func get(t *testing.T, c *coordtest.Client, key string) string {
	t.Helper()
	resp, err := c.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}
