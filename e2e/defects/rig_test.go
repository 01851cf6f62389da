package defects

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/coordd/coordd/e2e/cluster"
)

// arms are what each scenario is played with. A better store does not mend a library, nor a worse one spoil it.
var arms = []struct {
	name    string
	library library
	store   *store
	shows   bool // the defect
}{
	{"etcd's library on etcd", etcds{}, etcdStore, true},
	{"etcd's library on coordd", etcds{}, coorddStore, true},
	{"recipes on etcd", ours{}, etcdStore, false},
	{"recipes on coordd", ours{}, coorddStore, false},
}

var (
	etcdStore   = &store{program: "e2e/peers/bin/etcd"}
	coorddStore = &store{program: "bin/coordd"}
)

// store is one server process, for all scenarios that want it.
type store struct {
	program string
	once    sync.Once
	cluster *cluster.Cluster
	err     error
}

func (s *store) start() {
	dir, err := os.MkdirTemp("", "defects-")
	if err != nil {
		s.err = err
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	program, err := filepath.Abs(filepath.Join("../..", s.program))
	if err == nil {
		s.cluster, err = cluster.Start(ctx, cluster.Spec{Program: program, Size: 1, Dir: dir})
	}
	if err != nil {
		s.err = errors.Join(err, os.RemoveAll(dir))
	}
}

func (s *store) stop() {
	if s.cluster != nil {
		s.cluster.Kill()
		os.RemoveAll(filepath.Dir(s.cluster.Members[0].DataDir))
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	etcdStore.stop()
	coorddStore.stop()
	os.Exit(code)
}

// onEachArm plays a scenario. It returns what it saw of the defect, in words, or "".
func onEachArm(t *testing.T, play func(*rig) (defect string)) {
	for _, arm := range arms {
		t.Run(arm.name, func(t *testing.T) {
			arm.store.once.Do(arm.store.start)
			if arm.store.err != nil {
				t.Fatal(arm.store.err)
			}
			r := &rig{T: t, library: arm.library, endpoint: arm.store.cluster.Members[0].ClientURL, name: "d" + rand.Text(), aMoment: patience}
			if arm.shows {
				r.aMoment = 300 * time.Millisecond
			}
			r.operator = r.client()
			defect := play(r)
			if (defect != "") != arm.shows {
				t.Fatalf("shows the defect: %t, want %t: %s", defect != "", arm.shows, defect)
			}
			if defect != "" {
				t.Log(defect)
			}
		})
	}
}

// patience bounds what surely comes.
const patience = 30 * time.Second

// rig is what a scenario plays with.
type rig struct {
	*testing.T
	library  library
	endpoint string
	operator *clientv3.Client // nobody's in the scenario
	name     string           // nobody else's; it needs no escape

	// aMoment is how long to wait for what a defect would keep from coming. Where the defect is expected it never comes,
	// and the wait is short.
	aMoment time.Duration
}

func (r *rig) client(opts ...grpc.DialOption) *clientv3.Client {
	r.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{r.endpoint}, DialTimeout: 10 * time.Second, DialOptions: opts, Logger: zap.NewNop(),
	})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	return c
}

// open is a session on a client of its own.
func (r *rig) open(opts ...grpc.DialOption) session {
	r.Helper()
	return r.openOn(r.client(opts...), 60)
}

func (r *rig) openOn(c *clientv3.Client, ttlSeconds int) session {
	r.Helper()
	s, err := r.library.open(r.Context(), c, ttlSeconds)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(s.close)
	return s
}

// must fails the test unless the lock or the office was got.
func (r *rig) must(h hold, err error) hold {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
	return h
}

func (r *rig) release(h hold) {
	r.Helper()
	if err := h.release(r.Context()); err != nil {
		r.Fatal(err)
	}
}

// free reports whether s gets the lock without waiting.
func (r *rig) free(s session, name string) bool {
	r.Helper()
	h, err := s.tryLock(r.Context(), name)
	if isLocked(err) {
		return false
	}
	r.release(r.must(h, err))
	return true
}

type outcome struct {
	hold hold
	err  error
}

type acquisition func(ctx context.Context, name string) (hold, error)

// enter acquires beside the test and delivers the outcome. It returns once there is one, or a place in the queue.
func (r *rig) enter(dir string, acquire acquisition) <-chan outcome {
	r.Helper()
	before := len(r.keys(dir))
	done := make(chan outcome, 1)
	go func() {
		h, err := acquire(r.Context(), r.name)
		done <- outcome{h, err}
	}()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	changes := r.operator.Watch(ctx, dir, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	for {
		select {
		case o := <-done:
			done <- o
			return done
		case _, open := <-changes:
			if !open {
				r.Fatalf("nobody came to %s", dir)
			}
			if len(r.keys(dir)) > before {
				return done
			}
		}
	}
}

// await is the outcome of what surely ends.
func await[T any](r *rig, c <-chan T) T {
	r.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		r.Fatal("nothing came")
		panic("unreachable")
	}
}

// keys are those below dir, the oldest first.
func (r *rig) keys(dir string) []string {
	r.Helper()
	resp, err := r.operator.Get(r.Context(), dir, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		r.Fatal(err)
	}
	keys := make([]string, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

// kill ends a session as the store does when its client was silent for too long, and the client does not know yet.
func (r *rig) kill(s session) {
	r.Helper()
	if _, err := r.operator.Revoke(r.Context(), s.lease()); err != nil {
		r.Fatal(err)
	}
}

// put writes a few revisions and returns the last.
func (r *rig) put() (revision int64, err error) {
	for range 3 {
		resp, err := r.operator.Put(r.Context(), r.name+"-other", "")
		if err != nil {
			return 0, fmt.Errorf("put: %w", err)
		}
		revision = resp.Header.Revision
	}
	return revision, nil
}
