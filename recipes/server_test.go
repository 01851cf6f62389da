package recipes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/coorddtest"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
)

// server is the one store of a test run. Tests keep apart by prefix.
var server struct {
	once     sync.Once
	endpoint string
	err      error
	stop     func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	if server.stop != nil {
		server.stop()
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func startServer(tb testing.TB) (endpoint string) {
	tb.Helper()
	endpoint, err := serverEndpoint()
	if err != nil {
		tb.Fatalf("%s: %v", tb.Name(), err)
	}
	return endpoint
}

func serverEndpoint() (string, error) {
	server.once.Do(func() { server.endpoint, server.stop, server.err = runServer() })
	return server.endpoint, server.err
}

func runServer() (endpoint string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "recipes-test-")
	if err != nil {
		return "", nil, err
	}
	s, err := coorddtest.Run(dir, io.Discard)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s.ClientURLs()[0], func() {
		s.Stop()
		os.RemoveAll(dir)
	}, nil
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
	t.Helper()
	f := &fixture{T: t, client: dial(t, startServer(t), opts...), options: &MutexOptions{Prefix: "/" + t.Name() + "/" + newAttemptID()}}
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
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	watch := f.client.Watch(ctx, m.path+queueDir, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	for range watch {
		if keys := f.queue(m); len(keys) == n {
			return keys
		}
	}
	f.Fatal("the watch of the queue broke")
	return nil
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
