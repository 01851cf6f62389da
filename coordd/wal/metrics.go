package wal

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a log counts while it works, under etcd's names.
type metrics struct {
	write, sync prometheus.Histogram // of one frame
	bytes       prometheus.Counter
}

func newMetrics() metrics {
	buckets := prometheus.ExponentialBuckets(0.001, 2, 14) // etcd's: 1 ms to 8 s
	return metrics{
		write: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "etcd_disk_wal_write_duration_seconds",
			Help: "Time that the log's writes took to reach the system's cache.", Buckets: buckets}),
		sync: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "etcd_disk_wal_fsync_duration_seconds",
			Help: "Time that the log's fdatasync took.", Buckets: buckets}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_disk_wal_write_bytes_total",
			Help: "Bytes written to the log."}),
	}
}

// wrote notes a frame that was written and synced.
func (m *metrics) wrote(bytes int64, begin, written, synced time.Time) {
	m.write.Observe(written.Sub(begin).Seconds())
	m.sync.Observe(synced.Sub(written).Seconds())
	m.bytes.Add(float64(bytes))
}

// Collectors are the log's metrics.
func (l *Log) Collectors() []prometheus.Collector {
	return []prometheus.Collector{l.metrics.write, l.metrics.sync, l.metrics.bytes}
}
