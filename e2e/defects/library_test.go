package defects

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"

	"github.com/coordd/coordd/recipes"
)

// library is a lock library as its users call it.
type library interface {
	open(ctx context.Context, c *clientv3.Client, ttlSeconds int) (session, error)
	// lockDir and electionDir are what the keys of a name begin with, whoever holds it or waits.
	lockDir(name string) string
	electionDir(name string) string
}

// session is whom a library takes for one client. Each lock is made anew, as by callers that know nothing of each other.
type session interface {
	lease() clientv3.LeaseID
	over() bool // what the library says of the session, without asking the store
	close()
	lock(ctx context.Context, name string) (hold, error)
	tryLock(ctx context.Context, name string) (hold, error)
	lockToWrite(ctx context.Context, name string) (hold, error)
	campaign(ctx context.Context, name, value string) (hold, error)
	observe(ctx context.Context, name string) <-chan string // who leads, "" for nobody
	awaitBarrier(ctx context.Context, name string) error
	holdBarrier(ctx context.Context, name string) (release func() error, err error)
}

// hold is a lock or an office, held.
type hold interface {
	key() string
	release(ctx context.Context) error
}

// isLocked reports whether err is a library's word for a lock that somebody else has.
func isLocked(err error) bool {
	return errors.Is(err, concurrency.ErrLocked) || errors.Is(err, recipes.ErrLocked)
}

// etcds is etcd's: packages concurrency and experimental/recipes.
type etcds struct{}

func (etcds) open(_ context.Context, c *clientv3.Client, ttlSeconds int) (session, error) {
	s, err := concurrency.NewSession(c, concurrency.WithTTL(ttlSeconds))
	return etcdSession{s}, err
}

func (etcds) lockDir(name string) string     { return name + "/" }
func (etcds) electionDir(name string) string { return name + "/" }

type etcdSession struct{ *concurrency.Session }

func (s etcdSession) lease() clientv3.LeaseID { return s.Lease() }
func (s etcdSession) close()                  { s.Close() }

func (s etcdSession) over() bool {
	select {
	case <-s.Done():
		return true
	default:
		return false
	}
}

func (s etcdSession) lock(ctx context.Context, name string) (hold, error) {
	m := concurrency.NewMutex(s.Session, name)
	return etcdMutex{m}, m.Lock(ctx)
}

func (s etcdSession) tryLock(ctx context.Context, name string) (hold, error) {
	m := concurrency.NewMutex(s.Session, name)
	return etcdMutex{m}, m.TryLock(ctx)
}

type etcdMutex struct{ *concurrency.Mutex }

func (m etcdMutex) key() string                       { return m.Key() }
func (m etcdMutex) release(ctx context.Context) error { return m.Unlock(ctx) }

func (s etcdSession) lockToWrite(_ context.Context, name string) (hold, error) {
	m := recipe.NewRWMutex(s.Session, name)
	return etcdRWMutex{m}, m.Lock()
}

type etcdRWMutex struct{ *recipe.RWMutex }

func (m etcdRWMutex) key() string                   { return "" } // it does not tell
func (m etcdRWMutex) release(context.Context) error { return m.Unlock() }

func (s etcdSession) campaign(ctx context.Context, name, value string) (hold, error) {
	e := concurrency.NewElection(s.Session, name)
	return etcdElection{e}, e.Campaign(ctx, value)
}

type etcdElection struct{ *concurrency.Election }

func (e etcdElection) key() string                       { return e.Key() }
func (e etcdElection) release(ctx context.Context) error { return e.Resign(ctx) }

func (s etcdSession) observe(ctx context.Context, name string) <-chan string {
	leaders := make(chan string)
	go func() {
		defer close(leaders)
		for resp := range concurrency.NewElection(s.Session, name).Observe(ctx) {
			select {
			case leaders <- string(resp.Kvs[0].Value):
			case <-ctx.Done():
			}
		}
	}()
	return leaders
}

func (s etcdSession) awaitBarrier(_ context.Context, name string) error {
	return recipe.NewBarrier(s.Client(), name).Wait()
}

func (s etcdSession) holdBarrier(_ context.Context, name string) (release func() error, err error) {
	b := recipe.NewBarrier(s.Client(), name)
	return b.Release, b.Hold()
}

// ours is package recipes.
type ours struct{}

func (ours) open(ctx context.Context, c *clientv3.Client, ttlSeconds int) (session, error) {
	s, err := recipes.NewSession(ctx, c, &recipes.SessionOptions{TTLSeconds: int64(ttlSeconds)})
	return ourSession{s}, err
}

func (ours) lockDir(name string) string     { return recipes.DefaultLockPrefix + "/" + name + "/" }
func (ours) electionDir(name string) string { return recipes.DefaultElectionPrefix + "/" + name + "/" }

type ourSession struct{ *recipes.Session }

func (s ourSession) lease() clientv3.LeaseID { return s.Lease() }
func (s ourSession) over() bool              { return s.Valid() != nil }
func (s ourSession) close()                  { s.Close() }

func (s ourSession) lock(ctx context.Context, name string) (hold, error) {
	return held(recipes.NewMutex(s.Session, name, nil).Lock(ctx))
}

func (s ourSession) tryLock(ctx context.Context, name string) (hold, error) {
	return held(recipes.NewMutex(s.Session, name, nil).TryLock(ctx))
}

func (s ourSession) lockToWrite(ctx context.Context, name string) (hold, error) {
	return held(recipes.NewRWMutex(s.Session, name, nil).Lock(ctx))
}

func held(h *recipes.Hold, err error) (hold, error) { return ourHold{h}, err }

type ourHold struct{ *recipes.Hold }

func (h ourHold) key() string                       { return h.Key() }
func (h ourHold) release(ctx context.Context) error { return h.Unlock(ctx) }

func (s ourSession) campaign(ctx context.Context, name, value string) (hold, error) {
	l, err := recipes.NewElection(s.Session, name, nil).Campaign(ctx, value)
	return ourLeadership{l}, err
}

type ourLeadership struct{ *recipes.Leadership }

func (l ourLeadership) key() string                       { return l.Key() }
func (l ourLeadership) release(ctx context.Context) error { return l.Resign(ctx) }

func (s ourSession) observe(ctx context.Context, name string) <-chan string {
	leaders := make(chan string)
	go func() {
		defer close(leaders)
		for now, err := range recipes.NewElection(s.Session, name, nil).Observe(ctx) {
			if err != nil {
				return
			}
			select {
			case leaders <- string(now.KV.GetValue()):
			case <-ctx.Done():
			}
		}
	}()
	return leaders
}

func (s ourSession) awaitBarrier(ctx context.Context, name string) error {
	return recipes.NewBarrier(s.Session, name, nil).Wait(ctx)
}

func (s ourSession) holdBarrier(ctx context.Context, name string) (release func() error, err error) {
	b := recipes.NewBarrier(s.Session, name, nil)
	return func() error { return b.Release(ctx) }, b.Hold(ctx)
}
