package raftnode

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	// An apply or a write of the log that takes longer is logged: 100 ms and 1 s,
	// as in etcd. So long as they take, so seldom they can be logged.
	slowApply = 100 * time.Millisecond
	slowWrite = time.Second
)

// metrics are what a node counts while it works. Where the meaning is the same
// they have etcd's names.
type metrics struct {
	leaderChanges, proposalsFailed prometheus.Counter
	readsFailed, appliesSlow       prometheus.Counter
	heartbeatsLate                 prometheus.Counter
	apply, flush                   prometheus.Histogram
	installing                     prometheus.Gauge
	roundTrip                      *prometheus.HistogramVec
	sentBytes, receivedBytes       *prometheus.CounterVec

	lastTick   time.Time            // owned by loop
	heartbeats map[uint64]time.Time // sent by this leader and not answered yet; owned by loop
}

func newMetrics() metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)})
	}
	return metrics{
		leaderChanges:   counter("etcd_server_leader_changes_seen_total", "Times this member saw another leader, the first one too."),
		proposalsFailed: counter("etcd_server_proposals_failed_total", "Proposals of this member that ended without being applied, as far as it knows."),
		readsFailed:     counter("etcd_server_read_indexes_failed_total", "Reads that ended before their read index was known."),
		appliesSlow:     counter("etcd_server_slow_apply_total", "Log entries that took longer than 100 ms to apply."),
		heartbeatsLate:  counter("etcd_server_heartbeat_send_failures_total", "Times this leader sent its heartbeats an interval or more too late."),
		apply:           histogram("coordd_apply_duration_seconds", "Time to apply one log entry, which may hold many requests."),
		flush:           histogram("etcd_disk_backend_commit_duration_seconds", "Time to write applied state to the backend. No reply waits for it."),
		installing: prometheus.NewGauge(prometheus.GaugeOpts{Name: "etcd_server_snapshot_apply_in_progress_total",
			Help: "Whether a received snapshot is being installed: 1 or 0."}),
		roundTrip: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "etcd_network_peer_round_trip_time_seconds",
			Help: "Time from a leader's heartbeat to its answer. Other members measure nothing.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}, []string{"To"}),
		sentBytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_network_peer_sent_bytes_total",
			Help: "Bytes of raft messages for a member, without snapshots."}, []string{"To"}),
		receivedBytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_network_peer_received_bytes_total",
			Help: "Bytes of raft messages from a member, without snapshots."}, []string{"From"}),
		heartbeats: map[uint64]time.Time{},
	}
}

// Collectors are the metrics of the node and its log.
func (n *Node) Collectors() []prometheus.Collector {
	m := &n.metrics
	pending := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "etcd_server_proposals_pending",
		Help: "Proposals of this member that are not applied yet."}, func() float64 { return float64(n.proposals.pending()) })
	slowReads := prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "etcd_server_slow_read_indexes_total",
		Help: "Read index rounds asked again because no answer came."}, func() float64 { return float64(n.reads.retried()) })
	return append(n.cfg.Log.Collectors(), pending, slowReads, m.leaderChanges, m.proposalsFailed, m.readsFailed, m.appliesSlow,
		m.heartbeatsLate, m.apply, m.flush, m.installing, m.roundTrip, m.sentBytes, m.receivedBytes)
}

// pending returns how many requests wait or are proposed.
func (p *proposals) pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.waiting)
	for _, b := range p.proposed {
		n += len(b.calls)
	}
	return n
}

// retried returns how often a round was asked again.
func (r *reads) retried() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.retries
}

// ticked notes a tick: one that comes late delays a leader's heartbeats.
func (m *metrics) ticked(now time.Time, interval time.Duration, leads bool) {
	if leads && !m.lastTick.IsZero() && now.Sub(m.lastTick) > 2*interval {
		m.heartbeatsLate.Inc()
	}
	m.lastTick = now
}

// send hands messages to the transport and counts them.
func (n *Node) send(msgs []*raftpb.Message) {
	for _, m := range msgs {
		n.metrics.sentBytes.WithLabelValues(hex(m.GetTo())).Add(float64(proto.Size(m)))
	}
	n.cfg.Transport.Send(msgs)
}

// beat notes the heartbeats that go out. One that is not answered is not
// measured, and neither is the next before an answer comes.
func (m *metrics) beat(msgs []*raftpb.Message) {
	for _, msg := range msgs {
		if msg.GetType() == raftpb.MsgHeartbeat {
			if _, ok := m.heartbeats[msg.GetTo()]; !ok {
				m.heartbeats[msg.GetTo()] = time.Now()
			}
		}
	}
}

// received notes a message from another member, and the answer to a heartbeat.
func (m *metrics) received(msg *raftpb.Message) {
	m.receivedBytes.WithLabelValues(hex(msg.GetFrom())).Add(float64(proto.Size(msg)))
	if msg.GetType() != raftpb.MsgHeartbeatResp {
		return
	}
	if since, ok := m.heartbeats[msg.GetFrom()]; ok {
		delete(m.heartbeats, msg.GetFrom())
		m.roundTrip.WithLabelValues(hex(msg.GetFrom())).Observe(time.Since(since).Seconds())
	}
}

// led notes a change of leader or term. What was not answered never will be.
func (m *metrics) led(before *Status, leader uint64) {
	clear(m.heartbeats)
	if leader != raft.None && (before == nil || before.Leader != leader) {
		m.leaderChanges.Inc()
	}
}

func hex(id uint64) string { return strconv.FormatUint(id, 16) }

// noteApply notes how long an entry took to apply, and logs it if that was long.
func (n *Node) noteApply(index uint64, requests int, took time.Duration) {
	n.metrics.apply.Observe(took.Seconds())
	if took >= slowApply {
		n.metrics.appliesSlow.Inc()
		n.cfg.Logger.Warn("slow apply", "took", took, "index", index, "requests", requests)
	}
}
