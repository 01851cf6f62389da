package recipes

import (
	"context"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// stuck keeps the first transaction that puts a key below a directory from arriving until
// the function returned is called; the client is told that its connection broke.
func stuck(f *faults, dir string) (arrive func(context.Context) error) {
	var once sync.Once
	arrive = func(context.Context) error { return nil }
	f.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) (err error) {
		first := false
		for _, op := range req.Success {
			if strings.Contains(string(op.GetRequestPut().GetKey()), dir) {
				once.Do(func() { first = true })
			}
		}
		if !first {
			return send(ctx)
		}
		arrive = func(late context.Context) error { return send(late) }
		return lostReply()
	})
	return func(ctx context.Context) error { return arrive(ctx) }
}

// nothingStands fails if there is a key in a queue or among holders below the prefix.
func (f *fixture) nothingStands() {
	f.Helper()
	resp, err := f.client.Get(f.Context(), f.options.Prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		f.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		if key := string(kv.Key); strings.Contains(key, queueDir) || strings.Contains(key, holdersDir) {
			f.Errorf("%s stands there", key)
		}
	}
}

// A request to enter the queue arrives when what was waited for has long been granted, to
// a second try, and given back: nobody may be left in the queue by it.
func TestLateRequestLeavesNobodyBehind(t *testing.T) {
	ctx := t.Context()
	for name, use := range map[string]func(f *fixture, s *Session){
		"semaphore": func(f *fixture, s *Session) {
			options := &SemaphoreOptions{Prefix: f.options.Prefix, Limit: 1}
			holder := f.must(NewSemaphore(s, "one", options).Acquire(ctx, 1))
			mine := NewSemaphore(f.session, "one", options)
			later := f.later(func(ctx context.Context) (*Hold, error) { return mine.Acquire(ctx, 1) })
			f.awaitQueueBelow(mine.path)
			f.unlock(holder)
			f.unlock(f.await(later))
		},
		"election": func(f *fixture, s *Session) {
			options := &ElectionOptions{Prefix: f.options.Prefix}
			leader := f.campaign(NewElection(s, "one", options), "first")
			mine := NewElection(f.session, "one", options)
			later := f.campaignLater(ctx, mine, "second")
			candidate := f.awaitQueueBelow(mine.path)
			if err := leader.Transfer(ctx, candidate); err != nil {
				f.Fatal(err)
			}
			if o := <-later; o.err != nil || o.leadership.Resign(ctx) != nil {
				f.Fatal(o.err)
			}
		},
		"downgrade": func(f *fixture, _ *Session) {
			m := f.rw(f.session, "one")
			f.unlock(f.must(m.Downgrade(ctx, f.must(m.Lock(ctx)))))
		},
		"upgrade": func(f *fixture, _ *Session) {
			m := f.rw(f.session, "one")
			f.unlock(f.must(m.TryUpgrade(ctx, f.must(m.RLock(ctx)))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var faults faults
			f := newFixture(t, faults.option())
			arrive := stuck(&faults, queueDir)
			use(f, openSession(t, dial(t, startServer(t)), 60))
			if err := arrive(ctx); err != nil {
				t.Fatal(err)
			}
			f.nothingStands()
		})
	}
}

// awaitQueueBelow returns the key of whoever stands in the queue of a path.
func (f *fixture) awaitQueueBelow(path string) (key string) {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	for range f.client.Watch(ctx, path+queueDir, clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
		resp, err := f.client.Get(ctx, path+queueDir, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
		if err != nil {
			f.Fatal(err)
		}
		if len(resp.Kvs) > 0 {
			return string(resp.Kvs[0].Key)
		}
	}
	f.Fatal("the watch of the queue broke")
	return ""
}
