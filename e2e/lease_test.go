package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestLeaseOutlivesItsLeader: a lease that a client of a follower keeps alive
// goes on while the leader is killed, and ends once nobody keeps it alive.
func TestLeaseOutlivesItsLeader(t *testing.T) {
	c := startCluster(t, 3)
	leader, followers := splitLeader(t, c)
	client := newClient(t, followers[0].ClientURL, followers[1].ClientURL)
	ctx := within(t, 2*time.Minute)
	granted, err := client.Grant(ctx, 3)
	if err != nil {
		t.Fatal(err)
	}
	put, err := client.Put(ctx, "leased", "", clientv3.WithLease(granted.ID))
	if err != nil {
		t.Fatal(err)
	}
	alive, stopKeepAlive := context.WithCancel(ctx)
	defer stopKeepAlive()
	answers, err := client.KeepAlive(alive, granted.ID)
	if err != nil {
		t.Fatal(err)
	}
	// Ten answers come at a third of the TTL: more than two TTLs, on both sides
	// of the leader's end.
	for n := range 10 {
		if n == 4 {
			leader.Kill()
		}
		if answer, ok := <-answers; !ok || answer.TTL != 3 {
			t.Fatalf("keepalive %d was answered with %v, %t", n, answer, ok)
		}
	}
	got, err := client.Get(ctx, "leased")
	if err != nil || got.Count != 1 {
		t.Fatalf("the leased key: %v, %v", got, err)
	}
	stopKeepAlive()
	events := client.Watch(ctx, "leased", clientv3.WithRev(put.Header.Revision+1))
	if resp := <-events; len(resp.Events) != 1 || resp.Events[0].Type != clientv3.EventTypeDelete {
		t.Fatalf("after the last keepalive came %+v, want the key's deletion", resp)
	}
	left, err := client.TimeToLive(ctx, granted.ID)
	if err != nil || left.TTL != -1 {
		t.Errorf("time to live of a lease that has ended: %v, %v; want -1", left, err)
	}
}

// TestNewLeaderKnowsWhatLeasesHaveLeft: a lease that nobody keeps alive does not
// begin anew with each leader, and one that is kept alive loses nothing.
func TestNewLeaderKnowsWhatLeasesHaveLeft(t *testing.T) {
	const ttl = 12
	c := startCluster(t, 3)
	leader, followers := splitLeader(t, c)
	client := newClient(t, followers[0].ClientURL, followers[1].ClientURL)
	ctx := within(t, time.Minute)
	var leases [2]clientv3.LeaseID
	for i := range leases {
		granted, err := client.Grant(ctx, ttl)
		if err != nil {
			t.Fatal(err)
		}
		leases[i] = granted.ID
	}
	left := func(id clientv3.LeaseID) int64 {
		t.Helper()
		got, err := client.TimeToLive(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return got.TTL
	}
	for left(leases[0]) > ttl/2-2 { // half of it is gone, and the log says so a second later at most
		time.Sleep(100 * time.Millisecond)
	}
	if alive, err := client.KeepAliveOnce(ctx, leases[1]); err != nil || alive.TTL != ttl {
		t.Fatalf("keepalive: %v, %v", alive, err)
	}
	leader.Kill()
	if got := left(leases[0]); got > ttl/2 {
		t.Errorf("under the new leader the lease has %d s left of %d", got, ttl)
	}
	if got := left(leases[1]); got <= ttl/2 {
		t.Errorf("under the new leader the renewed lease has %d s left", got)
	}
}

// splitLeader tells the leader from the followers.
func splitLeader(t *testing.T, c *cluster.Cluster) (leader *cluster.Member, followers []*cluster.Member) {
	t.Helper()
	client := newClient(t, c.Endpoints()...)
	for _, m := range c.Members {
		status, err := client.Status(within(t, 10*time.Second), m.ClientURL)
		if err != nil {
			t.Fatal(err)
		}
		if status.Leader == status.Header.MemberId {
			leader = m
		} else {
			followers = append(followers, m)
		}
	}
	if leader == nil {
		t.Fatal("no member leads")
	}
	return leader, followers
}
