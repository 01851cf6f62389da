package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/recipes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// startCampaign stands for an office and delivers the leadership.
func startCampaign(t *testing.T, ctx context.Context, client *clientv3.Client, office string) <-chan *recipes.Leadership {
	t.Helper()
	session, err := recipes.NewSession(ctx, client, &recipes.SessionOptions{TTLSeconds: 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	elected := make(chan *recipes.Leadership, 1)
	go func() {
		l, err := recipes.NewElection(session, office, &recipes.ElectionOptions{EtcdLayout: true}).Campaign(ctx, "recipes")
		if err != nil {
			t.Errorf("campaign: %v", err)
		}
		elected <- l
	}()
	return elected
}

// TestElectionOutlivesTheClustersLeader: who leads an office goes on, and those who wait, by the recipes or by the
// election service of a member that is left, are elected in turn.
func TestElectionOutlivesTheClustersLeader(t *testing.T) {
	c := startCluster(t, 3)
	killed, left := splitLeader(t, c)
	ctx := within(t, time.Minute)
	client := newClient(t, c.Endpoints()...)
	follower := newClient(t, left[0].ClientURL)
	service := v3electionpb.NewElectionClient(follower.ActiveConnection())

	first := <-startCampaign(t, ctx, client, "office")
	second := startCampaign(t, ctx, client, "office")
	awaitKeys(t, client, "office/", 2)
	lease, err := follower.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	third := make(chan *v3electionpb.CampaignResponse, 1)
	go func() {
		response, err := service.Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte("office"), Lease: int64(lease.ID), Value: []byte("service")})
		if err != nil {
			t.Errorf("campaign by the service: %v", err)
		}
		third <- response
	}()
	awaitKeys(t, client, "office/", 3)

	killed.Kill()
	if err := first.Verify(ctx); err != nil {
		t.Fatalf("the leadership ended with the cluster's leader: %v", err)
	}
	select {
	case <-second:
		t.Fatal("two lead")
	case <-third:
		t.Fatal("two lead, one by the service")
	default:
	}
	if err := first.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	next := <-second
	if next == nil {
		t.FailNow()
	}
	if order, err := first.Token().Compare(next.Token()); err != nil || order >= 0 {
		t.Errorf("tokens %s, then %s: %v", first.Token(), next.Token(), err)
	}
	if err := next.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	last := <-third
	if last == nil {
		t.FailNow()
	}
	if last.GetLeader().GetRev() <= next.Revision() {
		t.Errorf("revision %d after %d", last.GetLeader().GetRev(), next.Revision())
	}
	now, err := service.Leader(ctx, &v3electionpb.LeaderRequest{Name: []byte("office")})
	if err != nil || string(now.GetKv().GetValue()) != "service" {
		t.Errorf("leader: %v, %v", now, err)
	}
}
