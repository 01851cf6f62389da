package recipes

import (
	"context"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// stores are what tests run on, by name, set by TestMain: "coordd", and "etcd" where its binary is at hand. Tests keep
// apart by prefix.
var stores = map[string]*store{}

// store runs one server for all tests that want it.
type store struct {
	run  func() (endpoint string, stop func(), err error)
	once sync.Once

	endpoint string
	stop     func()
	err      error
}

func (s *store) start() (endpoint string, err error) {
	s.once.Do(func() { s.endpoint, s.stop, s.err = s.run() })
	return s.endpoint, s.err
}

func startServer(tb testing.TB) (endpoint string) { return startStore(tb, "coordd") }

func startStore(tb testing.TB, name string) (endpoint string) {
	tb.Helper()
	endpoint, err := stores[name].start()
	if err != nil {
		tb.Fatalf("%s: %v", tb.Name(), err)
	}
	return endpoint
}

// onEachStore runs a test on coordd and, where there is its binary, on etcd.
func onEachStore(t *testing.T, test func(*fixture)) {
	for name := range stores {
		t.Run(name, func(t *testing.T) { test(newFixtureOn(t, name)) })
	}
}

func newClient(endpoint string, opts ...grpc.DialOption) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second, DialOptions: opts})
}

func dial(tb testing.TB, endpoint string, opts ...grpc.DialOption) *clientv3.Client {
	tb.Helper()
	c, err := newClient(endpoint, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

func openSession(tb testing.TB, c *clientv3.Client, ttlSeconds int64) *Session {
	tb.Helper()
	s, err := NewSession(tb.Context(), c, &SessionOptions{TTLSeconds: ttlSeconds})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

// fixture is a client, a session and a prefix of the test's own.
type fixture struct {
	*testing.T
	client  *clientv3.Client
	session *Session
	options *MutexOptions
}

func newFixture(t *testing.T, opts ...grpc.DialOption) *fixture {
	return newFixtureOn(t, "coordd", opts...)
}

func newFixtureOn(t *testing.T, store string, opts ...grpc.DialOption) *fixture {
	t.Helper()
	f := &fixture{T: t, client: dial(t, startStore(t, store), opts...), options: &MutexOptions{Prefix: "/" + t.Name() + "/" + newAttemptID()}}
	f.session = openSession(t, f.client, 60)
	return f
}

// newOwnStoreFixture is for tests that change what is common to all users of a store.
func newOwnStoreFixture(t *testing.T) *fixture {
	t.Helper()
	endpoint, stop, err := stores["coordd"].run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	f := &fixture{T: t, client: dial(t, endpoint), options: &MutexOptions{}}
	f.session = openSession(t, f.client, 60)
	return f
}

func (f *fixture) mutex(s *Session, name string) *Mutex { return NewMutex(s, name, f.options) }

func (f *fixture) lock(m *Mutex) *Hold {
	f.Helper()
	h, err := m.Lock(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return h
}

func (f *fixture) unlock(h *Hold) {
	f.Helper()
	if err := h.Unlock(f.Context()); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) revision() int64 {
	f.Helper()
	resp, err := f.client.Get(f.Context(), "/")
	if err != nil {
		f.Fatal(err)
	}
	return resp.Header.Revision
}

// queue returns the queue's keys, oldest first.
func (f *fixture) queue(m *Mutex) []string {
	f.Helper()
	resp, err := f.client.Get(f.Context(), m.path+queueDir, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		f.Fatal(err)
	}
	var keys []string
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

// awaitQueue returns once the queue has n entries.
func (f *fixture) awaitQueue(m *Mutex, n int) []string {
	f.Helper()
	f.awaitKeys(m.path+queueDir, n)
	return f.queue(m)
}

// awaitKeys returns once there are n keys with a prefix.
func (f *fixture) awaitKeys(prefix string, n int) {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	for range f.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
		if f.countKeys(prefix) == n {
			return
		}
	}
	f.Fatalf("the watch of %s broke", prefix)
}

func (f *fixture) countKeys(prefix string) int {
	f.Helper()
	resp, err := f.client.Get(f.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		f.Fatal(err)
	}
	return int(resp.Count)
}

type outcome struct {
	hold *Hold
	err  error
}

// lockLater locks beside the test and delivers the outcome.
func (f *fixture) lockLater(ctx context.Context, m *Mutex) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		h, err := m.Lock(ctx)
		done <- outcome{h, err}
	}()
	return done
}
