package rpc

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/proto/v3lockpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (r *rig) grant(t *testing.T) clientv3.LeaseID {
	t.Helper()
	granted, err := r.client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	return granted.ID
}

// awaitQueue returns once n keys lie below the name.
func (r *rig) awaitQueue(t *testing.T, name string, n int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range r.client.Watch(ctx, name+"/", clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
		got, err := r.client.Get(ctx, name+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			t.Fatal(err)
		}
		if got.Count == n {
			return
		}
	}
	t.Fatal("the watch of the queue broke")
}

type locked struct {
	response *v3lockpb.LockResponse
	err      error
}

func lockLater(ctx context.Context, c v3lockpb.LockClient, name string, lease int64) <-chan locked {
	done := make(chan locked, 1)
	go func() {
		response, err := c.Lock(ctx, &v3lockpb.LockRequest{Name: []byte(name), Lease: lease})
		done <- locked{response, err}
	}()
	return done
}

func TestLockExcludesItsLibraryAndItself(t *testing.T) {
	r := newRig(t, nil)
	locks := v3lockpb.NewLockClient(r.conn)
	session, err := concurrency.NewSession(r.client)
	if err != nil {
		t.Fatal(err)
	}
	mutex := concurrency.NewMutex(session, "l")
	if err := mutex.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := lockLater(t.Context(), locks, "l", 0)
	r.awaitQueue(t, "l", 2)
	second := lockLater(t.Context(), locks, "l", int64(r.grant(t)))
	r.awaitQueue(t, "l", 3)
	if err := mutex.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	held := <-first
	if held.err != nil {
		t.Fatal(held.err)
	}
	checkHeader(t, held.response.GetHeader())
	select {
	case got := <-second:
		t.Fatalf("two hold the lock: %v", got)
	default:
	}
	if _, err := locks.Unlock(t.Context(), &v3lockpb.UnlockRequest{Key: held.response.GetKey()}); err != nil {
		t.Fatal(err)
	}
	if got := <-second; got.err != nil {
		t.Fatal(got.err)
	}
	if err := mutex.TryLock(t.Context()); err != concurrency.ErrLocked {
		t.Fatalf("TryLock of a lock that is held: %v", err)
	}
}

func TestLockTwiceWithOneLeaseIsOneAcquisition(t *testing.T) {
	r := newRig(t, nil)
	locks, lease := v3lockpb.NewLockClient(r.conn), int64(r.grant(t))
	first, second := <-lockLater(t.Context(), locks, "l", lease), <-lockLater(t.Context(), locks, "l", lease)
	if first.err != nil || second.err != nil || string(first.response.GetKey()) != string(second.response.GetKey()) {
		t.Fatalf("%v and %v, want the same key", first, second)
	}
}

func TestLockWithoutLeaseIsHeldForItsWholeTTL(t *testing.T) {
	r := newRig(t, nil)
	held := <-lockLater(t.Context(), v3lockpb.NewLockClient(r.conn), "l", 0)
	if held.err != nil {
		t.Fatal(held.err)
	}
	kv, err := r.client.Get(t.Context(), string(held.response.GetKey()))
	if err != nil || len(kv.Kvs) != 1 {
		t.Fatalf("key of the lock: %v, %v", kv, err)
	}
	ttl, err := r.client.TimeToLive(t.Context(), clientv3.LeaseID(kv.Kvs[0].Lease))
	if err != nil || ttl.GrantedTTL != sessionTTLSeconds {
		t.Fatalf("lease of the lock: %v, %v", ttl, err)
	}
}

// TestLockGivenUpLeavesNothing: neither the entry nor, where the call made one,
// the lease.
func TestLockGivenUpLeavesNothing(t *testing.T) {
	r := newRig(t, nil)
	locks := v3lockpb.NewLockClient(r.conn)
	holder := int64(r.grant(t))
	if got := <-lockLater(t.Context(), locks, "l", holder); got.err != nil {
		t.Fatal(got.err)
	}
	for _, lease := range []int64{0, int64(r.grant(t))} {
		ctx, cancel := context.WithCancel(t.Context())
		waiting := lockLater(ctx, locks, "l", lease)
		r.awaitQueue(t, "l", 2)
		cancel()
		if got := <-waiting; status.Code(got.err) != codes.Canceled {
			t.Errorf("lock given up: %v", got)
		}
		r.awaitQueue(t, "l", 1)
	}
	leases, err := r.client.Leases(t.Context())
	if err != nil || len(leases.Leases) != 2 {
		t.Errorf("%d leases, want the two of the test: %v", len(leases.Leases), err)
	}
}

// TestWaiterWhoseLeaseEndsFails: at once, and though the lock is free when it
// looks.
func TestWaiterWhoseLeaseEndsFails(t *testing.T) {
	r := newRig(t, nil)
	locks, elections := v3lockpb.NewLockClient(r.conn), v3electionpb.NewElectionClient(r.conn)
	holder, lost := int64(r.grant(t)), r.grant(t)
	for _, name := range []string{"l", "e"} {
		if got := <-lockLater(t.Context(), locks, name, holder); got.err != nil {
			t.Fatal(got.err)
		}
	}
	waiting := lockLater(t.Context(), locks, "l", int64(lost))
	campaigning := make(chan error, 1)
	go func() {
		_, err := elections.Campaign(t.Context(), &v3electionpb.CampaignRequest{Name: []byte("e"), Lease: int64(lost)})
		campaigning <- err
	}()
	r.awaitQueue(t, "l", 2)
	r.awaitQueue(t, "e", 2)
	if _, err := r.client.Revoke(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	if got := <-waiting; status.Convert(got.err).Message() != "mutex: session is expired" {
		t.Errorf("the lock was granted to a lease that is gone: %v", got)
	}
	if err := <-campaigning; status.Convert(err).Message() != "election: not leader" {
		t.Errorf("a lease that is gone was elected: %v", err)
	}
}

func TestLockEndsWithTheServer(t *testing.T) {
	r := newRig(t, nil)
	locks := v3lockpb.NewLockClient(r.conn)
	if got := <-lockLater(t.Context(), locks, "l", int64(r.grant(t))); got.err != nil {
		t.Fatal(got.err)
	}
	waiting := lockLater(t.Context(), locks, "l", 0)
	r.awaitQueue(t, "l", 2)
	r.server.Stop(time.Minute)
	if got := <-waiting; got.err == nil || !strings.Contains(got.err.Error(), "server stopped") {
		t.Errorf("lock at the end: %v", got)
	}
}

func TestElection(t *testing.T) {
	r := newRig(t, nil)
	c := v3electionpb.NewElectionClient(r.conn)
	ctx := t.Context()
	name := []byte("e")
	observed, err := c.Observe(ctx, &v3electionpb.LeaderRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	check := func(want string) {
		t.Helper()
		got, err := observed.Recv()
		if err != nil || string(got.GetKv().GetValue()) != want {
			t.Fatalf("observed %v, %v; want %s", got, err, want)
		}
		checkHeader(t, got.GetHeader())
		now, err := c.Leader(ctx, &v3electionpb.LeaderRequest{Name: name})
		if err != nil || string(now.GetKv().GetValue()) != want {
			t.Fatalf("leader is %v, %v; want %s", now, err, want)
		}
	}
	if _, err := c.Leader(ctx, &v3electionpb.LeaderRequest{Name: name}); status.Convert(err).Message() != "election: no leader" {
		t.Errorf("leader of nobody: %v", err)
	}
	first, err := c.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: int64(r.grant(t)), Value: []byte("one")})
	if err != nil {
		t.Fatal(err)
	}
	check("one")
	if _, err := c.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: first.GetLeader(), Value: []byte("two")}); err != nil {
		t.Fatal(err)
	}
	check("two")
	again, err := c.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: first.GetLeader().GetLease(), Value: []byte("three")})
	if err != nil || again.GetLeader().GetRev() != first.GetLeader().GetRev() {
		t.Fatalf("second campaign of the leader: %v, %v", again, err)
	}
	check("three")

	second := make(chan *v3electionpb.CampaignResponse, 1)
	go func() {
		response, err := c.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Value: []byte("four")})
		if err != nil {
			t.Errorf("second candidate: %v", err)
		}
		second <- response
	}()
	r.awaitQueue(t, "e", 2)
	if _, err := c.Resign(ctx, &v3electionpb.ResignRequest{Leader: first.GetLeader()}); err != nil {
		t.Fatal(err)
	}
	next := <-second
	check("four")
	if _, err := c.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: first.GetLeader(), Value: []byte("x")}); status.Convert(err).Message() != "election: not leader" {
		t.Errorf("proclamation after the end: %v", err)
	}
	if _, err := c.Resign(ctx, &v3electionpb.ResignRequest{Leader: first.GetLeader()}); err != nil {
		t.Errorf("second resignation: %v", err)
	}
	if _, err := c.Proclaim(ctx, &v3electionpb.ProclaimRequest{}); status.Convert(err).Message() != `"leader" field must be provided` {
		t.Errorf("proclamation of nobody: %v", err)
	}

	// Without a lease in the request the leadership keeps its own.
	next.Leader.Lease = 0
	if _, err := c.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: next.GetLeader(), Value: []byte("five")}); err != nil {
		t.Fatal(err)
	}
	check("five")
	kv, err := pb.NewKVClient(r.conn).Range(ctx, &pb.RangeRequest{Key: next.GetLeader().GetKey()})
	if err != nil || kv.GetKvs()[0].GetLease() == 0 {
		t.Errorf("the leadership has no lease any more: %v, %v", kv, err)
	}
}

// Two callers hand one lock back and forth; one operation is one acquisition.
func BenchmarkLockHandoff(b *testing.B) {
	r := newRig(b, nil)
	locks := v3lockpb.NewLockClient(r.conn)
	var wg sync.WaitGroup
	for i := range 2 {
		granted, err := r.client.Grant(b.Context(), 600)
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			for n := i; n < b.N; n += 2 {
				held, err := locks.Lock(b.Context(), &v3lockpb.LockRequest{Name: []byte("l"), Lease: int64(granted.ID)})
				if err == nil {
					_, err = locks.Unlock(b.Context(), &v3lockpb.UnlockRequest{Key: held.GetKey()})
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkLockUncontended(b *testing.B) {
	r := newRig(b, nil)
	locks := v3lockpb.NewLockClient(r.conn)
	granted, err := r.client.Grant(b.Context(), 600)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		held, err := locks.Lock(b.Context(), &v3lockpb.LockRequest{Name: []byte("l"), Lease: int64(granted.ID)})
		if err == nil {
			_, err = locks.Unlock(b.Context(), &v3lockpb.UnlockRequest{Key: held.GetKey()})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
