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
