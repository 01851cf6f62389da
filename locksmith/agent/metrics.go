package agent

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what an agent counts. The agent writes them, whoever scrapes reads.
type Metrics struct {
	state    *prometheus.GaugeVec
	wanted   prometheus.Gauge
	blocked  *prometheus.GaugeVec
	waiting  prometheus.Gauge
	reboots  *prometheus.CounterVec
	failures prometheus.Counter
	taken    atomic.Int64 // when the slot was taken, in ns since 1970; 0: there is none
	heard    atomic.Int64 // when the store was last heard of, likewise; 0: never
}

// NewMetrics registers the metrics of one agent.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "locksmithd_state",
			Help: "1 for the state in which the agent is, 0 for all others."}, []string{"state"}),
		wanted: prometheus.NewGauge(prometheus.GaugeOpts{Name: "locksmithd_reboot_wanted",
			Help: "1 while a reboot is wanted."}),
		blocked: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "locksmithd_blocked",
			Help: "Reasons against the reboot that is wanted, at the last look, by who gave them."}, []string{"blocker"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "locksmithd_queue_machines",
			Help: "Machines in the group's queue, this one included, when the agent last waited in it; 0 when it does not wait."}),
		reboots: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "locksmithd_reboots_total",
			Help: "Reboots by what came of them: started, refused, returned, failed."}, []string{"result"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "locksmithd_step_failures_total",
			Help: "Steps that failed and were tried again."}),
	}
	for s := range states {
		m.state.WithLabelValues(State(s).String()).Set(0)
	}
	m.state.WithLabelValues(Starting.String()).Set(1)
	for _, result := range []string{"started", "refused", "returned", "failed"} {
		m.reboots.WithLabelValues(result)
	}
	for _, c := range []prometheus.Collector{m.state, m.wanted, m.blocked, m.waiting, m.reboots, m.failures,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "locksmithd_slot_held_seconds",
			Help: "For how long this agent has known its machine to hold a slot; 0 without one."}, m.heldSeconds),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "locksmithd_store_heard_timestamp_seconds",
			Help: "When the store last answered, in seconds since 1970; 0 for never."}, m.heardSeconds),
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) heldSeconds() float64 {
	taken := m.taken.Load()
	if taken == 0 {
		return 0
	}
	return time.Since(time.Unix(0, taken)).Seconds()
}

func (m *Metrics) heardSeconds() float64 { return float64(m.heard.Load()) / float64(time.Second) }

func (m *Metrics) became(was, next State) {
	m.state.WithLabelValues(was.String()).Set(0)
	m.state.WithLabelValues(next.String()).Set(1)
}

// holds says whether the machine has a slot.
func (m *Metrics) holds(slot bool) {
	if !slot {
		m.taken.Store(0)
	} else {
		m.taken.CompareAndSwap(0, time.Now().UnixNano())
	}
}

func (m *Metrics) wants(wanted bool) {
	m.wanted.Set(0)
	if wanted {
		m.wanted.Set(1)
	}
}

func (m *Metrics) unblock()              { m.blocked.Reset() }
func (m *Metrics) blocks(blocker string) { m.blocked.WithLabelValues(blocker).Inc() }
func (m *Metrics) queue(machines int)    { m.waiting.Set(float64(machines)) }
func (m *Metrics) rebooted(how string)   { m.reboots.WithLabelValues(how).Inc() }
func (m *Metrics) failed()               { m.failures.Inc() }
func (m *Metrics) talked()               { m.heard.Store(time.Now().UnixNano()) }
