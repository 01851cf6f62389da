package rpc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/kvcore/lease"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestLeaseGrantChoosesIDAndLeastTTL(t *testing.T) {
	r := newRig(t, nil)
	leases := pb.NewLeaseClient(r.conn)
	for _, c := range []struct{ id, ttl, wantTTL int64 }{{0, 100, 100}, {0, 0, 2}, {7, 1, 2}, {-7, -1, 2}} {
		got, err := leases.LeaseGrant(t.Context(), &pb.LeaseGrantRequest{ID: c.id, TTL: c.ttl})
		if err != nil {
			t.Fatal(err)
		}
		if c.id == 0 && got.ID <= 0 || c.id != 0 && got.ID != c.id || got.TTL != c.wantTTL {
			t.Errorf("lease %d of %d s granted as %d of %d s", c.id, c.ttl, got.ID, got.TTL)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	granted, err := r.client.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := pb.NewLeaseClient(r.conn).LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[int64]int64{int64(granted.ID): 60, 12345: 0} {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		checkHeader(t, got.Header)
		if got.ID != id || got.TTL != want {
			t.Errorf("keep-alive of %d: %v, want TTL %d", id, got, want)
		}
	}
	if _, err := r.client.KeepAliveOnce(ctx, 12345); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("the official client: %v, want %v", err, rpctypes.ErrLeaseNotFound)
	}
}

func TestLeaseTimeToLive(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	granted, err := r.client.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"b", "a"} {
		if _, err := r.client.Put(ctx, key, "", clientv3.WithLease(granted.ID)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := r.client.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	if err != nil {
		t.Fatal(err)
	}
	if got.TTL < 1 || got.TTL > 60 || got.GrantedTTL != 60 || len(got.Keys) != 2 || string(got.Keys[0]) != "a" {
		t.Errorf("time to live %+v", got)
	}
	if got, err := r.client.TimeToLive(ctx, 12345); err != nil || got.TTL != -1 {
		t.Errorf("time to live of no lease: %+v, %v; want -1", got, err)
	}
	list, err := r.client.Leases(ctx)
	if err != nil || len(list.Leases) != 1 || list.Leases[0].ID != granted.ID {
		t.Errorf("leases %v, %v", list, err)
	}
}

func TestLeaseExpires(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MinLeaseTTLSeconds = 1 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	granted, err := r.client.Grant(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	put, err := r.client.Put(ctx, "k", "", clientv3.WithLease(granted.ID))
	if err != nil {
		t.Fatal(err)
	}
	response := <-r.client.Watch(ctx, "k", clientv3.WithRev(put.Header.Revision+1))
	if len(response.Events) != 1 || response.Events[0].Type != clientv3.EventTypeDelete {
		t.Fatalf("%v, want the deletion of the lease's key", response)
	}
	if got, err := r.client.TimeToLive(ctx, granted.ID); err != nil || got.TTL != -1 {
		t.Errorf("time to live of the expired lease: %+v, %v; want -1", got, err)
	}
}

func TestOnlyTheLeaderAnswersForLeases(t *testing.T) {
	r := newRig(t, nil, 2, 3)
	leases := LeaderLeases{Node: r.node, Table: r.store.Leases(), Now: time.Now}
	if _, err := leases.Renew(t.Context(), 1); !errors.Is(err, errNotLeader) {
		t.Errorf("renewal on a member that does not lead: %v, want %v", err, errNotLeader)
	}
	if _, _, err := leases.TimeToLive(t.Context(), 1); !errors.Is(err, errNotLeader) {
		t.Errorf("time to live on a member that does not lead: %v, want %v", err, errNotLeader)
	}
}

// A renewal is answered only when the next leader, too, would give the lease its
// whole time.
func TestRenewalClearsTheCheckpoint(t *testing.T) {
	var passed atomic.Int64 // seconds
	now := func() time.Time { return time.Now().Add(time.Duration(passed.Load()) * time.Second) }
	r := newRig(t, func(c *Config) { c.Now = now })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	granted, err := r.client.Grant(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	left := func() int64 {
		l, ok := r.store.Leases().Lookup(lease.ID(granted.ID))
		if !ok {
			t.Fatal("the lease is gone")
		}
		return l.RemainingSeconds
	}
	for round := range 2 {
		eventually(ctx, t, func() bool { // its time has begun
			remaining, err := r.store.Leases().Remaining(lease.ID(granted.ID), now())
			return err == nil && remaining < 1000*time.Second
		})
		passed.Add(600)
		eventually(ctx, t, func() bool { return left() != 0 })
		if got := left(); got < 395 || got > 400 {
			t.Errorf("round %d: the checkpoint says %d s", round, got)
		}
		alive, err := r.client.KeepAliveOnce(ctx, granted.ID)
		if err != nil || alive.TTL != 1000 {
			t.Fatalf("keepalive: %v, %v", alive, err)
		}
		if got := left(); got != 0 {
			t.Errorf("round %d: the renewal was answered while the log says %d s", round, got)
		}
	}
}

func eventually(ctx context.Context, t *testing.T, done func() bool) {
	t.Helper()
	for !done() {
		if ctx.Err() != nil {
			t.Fatal("it never came true")
		}
		time.Sleep(time.Millisecond)
	}
}

// asked does something once its values are asked for, which a read index does.
type asked struct {
	context.Context
	once func()
}

func (a asked) Value(key any) any {
	a.once()
	return a.Context.Value(key)
}

// A leader that was none for a while may renew before it has applied what the one
// between has recorded. It must not promise what it then would not keep.
func TestRenewalSeesWhatIsAppliedMeanwhile(t *testing.T) {
	r := newRig(t, nil)
	granted, err := r.client.Grant(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	id := lease.ID(granted.ID)
	leases := LeaderLeases{Node: r.node, Table: r.store.Leases(), Now: time.Now}
	ctx := asked{t.Context(), sync.OnceFunc(func() { r.store.Leases().Checkpoint(id, 400) })}
	if ttl, err := leases.Renew(ctx, int64(id)); err == nil {
		t.Errorf("%d s are promised, the log says 400", ttl)
	}
	if ttl, err := leases.Renew(t.Context(), int64(id)); err != nil || ttl != 1000 {
		t.Errorf("renewed to %d s, %v", ttl, err)
	}
	if l, _ := r.store.Leases().Lookup(id); l.RemainingSeconds != 0 {
		t.Errorf("then the log says %d s", l.RemainingSeconds)
	}
}
