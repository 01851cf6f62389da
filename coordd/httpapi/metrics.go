package httpapi

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metric is one number read from the member at scrape time.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(reading) float64
}

// reading is the member at one moment: all numbers of a scrape come from one.
type reading struct {
	status                raftnode.Status
	counts                kvcore.Counts
	revision, compacted   int64
	sizeBytes, inUseBytes int64
	keys, watchers        int64
}

// memberCollector reads a member's metrics. Where the meaning is the same they
// have etcd's names, so that dashboards made for etcd go on working.
type memberCollector struct {
	node    *raftnode.Node
	store   *kvcore.Store
	metrics []metric

	knownPeers *prometheus.Desc
}

// NewRegistry returns a registry with the metrics of the node and its store, and
// those of the Go runtime and the process.
func NewRegistry(node *raftnode.Node, store *kvcore.Store, serverVersion string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(node.Collectors()...)
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newMemberCollector(node, store, serverVersion),
	)
	return registry
}

func newMemberCollector(node *raftnode.Node, store *kvcore.Store, serverVersion string) *memberCollector {
	c := &memberCollector{node: node, store: store}
	c.knownPeers = prometheus.NewDesc("etcd_network_known_peers", "Members this one knows, itself among them.", []string{"Local", "Remote"}, nil)
	c.addCounts()
	c.add("etcd_server_has_leader", "Whether this member knows a leader: 1 or 0.",
		func(r reading) float64 { return number(r.status.Leader != 0) })
	c.add("etcd_server_is_leader", "Whether this member leads: 1 or 0.",
		func(r reading) float64 { return number(r.status.IsLeader()) })
	c.add("etcd_server_is_learner", "Whether this member is a learner: 1 or 0.",
		func(r reading) float64 { return number(r.status.Learner) })
	c.add("etcd_server_proposals_committed_total", "Index of the last log entry this member knows to be committed.",
		func(r reading) float64 { return float64(r.status.Committed) })
	c.add("etcd_server_proposals_applied_total", "Index of the last log entry this member has applied.",
		func(r reading) float64 { return float64(r.status.Applied) })
	c.add("etcd_debugging_mvcc_current_revision", "Revision of the store.",
		func(r reading) float64 { return float64(r.revision) })
	c.add("etcd_debugging_mvcc_compact_revision", "Revision below which history is gone.",
		func(r reading) float64 { return float64(r.compacted) })
	c.add("etcd_mvcc_db_total_size_in_bytes", "Bytes allocated for the backend.",
		func(r reading) float64 { return float64(r.sizeBytes) })
	c.add("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of the backend that hold something.",
		func(r reading) float64 { return float64(r.inUseBytes) })
	c.add("coordd_raft_term", "Raft term of this member.",
		func(r reading) float64 { return float64(r.status.Term) })
	c.metrics = append(c.metrics,
		constant("etcd_server_id", "This member's id, as a label.", "server_id", fmt.Sprintf("%x", node.Status().ID)),
		constant("etcd_server_go_version", "The Go release that built this program, as a label.", "server_go_version", runtime.Version()),
		constant("etcd_cluster_version", "The etcd release whose API all members serve, as a label.", "cluster_version", majorMinor(serverVersion)),
		constant("etcd_server_version", "The etcd version whose API is served, as a label.", "server_version", serverVersion),
	)
	return c
}

// addCounts adds what the store has done since it was opened.
func (c *memberCollector) addCounts() {
	for _, m := range []struct {
		name, help string
		value      func(reading) float64
	}{
		{"etcd_mvcc_put_total", "Puts applied, those of transactions too.", func(r reading) float64 { return float64(r.counts.Puts) }},
		{"etcd_mvcc_delete_total", "Deletions applied, those of transactions too.", func(r reading) float64 { return float64(r.counts.Deletes) }},
		{"etcd_mvcc_range_total", "Ranges read, those of transactions too.", func(r reading) float64 { return float64(r.counts.Ranges) }},
		{"etcd_mvcc_txn_total", "Transactions applied or read.", func(r reading) float64 { return float64(r.counts.Txns) }},
		{"etcd_debugging_mvcc_total_put_size_in_bytes", "Bytes of keys and values put.", func(r reading) float64 { return float64(r.counts.PutBytes) }},
		{"etcd_debugging_lease_granted_total", "Leases granted.", func(r reading) float64 { return float64(r.counts.LeasesGranted) }},
		{"etcd_debugging_lease_revoked_total", "Leases revoked or expired.", func(r reading) float64 { return float64(r.counts.LeasesEnded) }},
	} {
		c.metrics = append(c.metrics, metric{prometheus.NewDesc(m.name, m.help, nil, nil), prometheus.CounterValue, m.value})
	}
	c.add("etcd_debugging_mvcc_keys_total", "Keys there are.", func(r reading) float64 { return float64(r.keys) })
	c.add("etcd_debugging_mvcc_watcher_total", "Watchers that are open.", func(r reading) float64 { return float64(r.watchers) })
}

func (c *memberCollector) add(name, help string, value func(reading) float64) {
	c.metrics = append(c.metrics, metric{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value})
}

// majorMinor is the X.Y of X.Y.Z.
func majorMinor(version string) string { return version[:strings.LastIndexByte(version, '.')] }

// constant is a metric that says something by its label.
func constant(name, help, label, value string) metric {
	desc := prometheus.NewDesc(name, help, nil, prometheus.Labels{label: value})
	return metric{desc, prometheus.GaugeValue, func(reading) float64 { return 1 }}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c *memberCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.knownPeers
	for _, m := range c.metrics {
		out <- m.desc
	}
}

func (c *memberCollector) Collect(out chan<- prometheus.Metric) {
	r := reading{
		status: c.node.Status(), counts: c.store.Counts(), revision: c.store.Revision(), compacted: c.store.CompactRevision(),
		keys: c.store.Keys(), watchers: c.store.Watchers(),
	}
	r.sizeBytes, r.inUseBytes = c.store.Size()
	for _, m := range c.store.Members() {
		out <- prometheus.MustNewConstMetric(c.knownPeers, prometheus.GaugeValue, 1, fmt.Sprintf("%x", r.status.ID), fmt.Sprintf("%x", m.Id))
	}
	for _, m := range c.metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(r))
	}
}
