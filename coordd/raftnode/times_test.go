package raftnode_test

import (
	"testing"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/prometheus/client_golang/prometheus"
)

func TestTimesSayWhereARequestWas(t *testing.T) {
	n := newNetwork(t, 3)
	leader := n.leader()
	ctx, times := raftnode.Timed(t.Context())
	if _, err := put(ctx, leader, "k"); err != nil {
		t.Fatal(err)
	}
	if err := leader.node.ReadIndex(ctx); err != nil {
		t.Fatal(err)
	}
	if times.Queue <= 0 || times.Replicate <= 0 || times.Apply <= 0 || times.ReadIndex <= 0 || times.Unsettled != 0 {
		t.Errorf("times of a put and a read: %+v", *times)
	}

	n.setCut(leader.id, true)
	ctx, times = raftnode.Timed(t.Context())
	if _, err := put(ctx, leader, "lost"); err == nil {
		t.Fatal("a put at a leader that is cut off")
	}
	if times.Apply != 0 || times.Queue+times.Replicate <= 0 {
		t.Errorf("times of a put that was never applied: %+v", *times)
	}
	if got := counter(t, leader.node, "etcd_server_proposals_failed_total"); got != 1 {
		t.Errorf("%v proposals failed, want 1", got)
	}
}

func TestElectionsAreCounted(t *testing.T) {
	n := newNetwork(t, 3)
	old := n.leader()
	n.setCut(old.id, true)
	next := n.leader(old.id)
	if got := counter(t, next.node, "etcd_server_leader_changes_seen_total"); got < 2 {
		t.Errorf("%v changes of leader seen, want the first and this one", got)
	}
}

// counter reads one of the node's metrics.
func counter(t *testing.T, node *raftnode.Node, name string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(node.Collectors()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
