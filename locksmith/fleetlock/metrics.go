package fleetlock

import (
	"context"
	"slices"
	"time"

	"github.com/coordd/coordd/locksmith/slots"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// scrapeTimeout bounds what a store without a quorum adds to a scrape.
	scrapeTimeout = time.Second
	// maxShownGroups bounds the label group.
	maxShownGroups = 64
)

func newRequests() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "locksmith_fleetlock_requests_total",
		Help: "FleetLock requests by operation and result: ok, or the kind of the error.",
	}, []string{"operation", "result"})
}

// Collectors are the handler's metrics: its requests, and the slots of the first
// 64 groups it was given, read at each scrape. Where the store does not answer
// within a second the slots are left out.
func (h *Handler) Collectors() []prometheus.Collector {
	shown := slices.DeleteFunc(slices.Clone(h.Groups), func(name string) bool { return name == AnyGroup })
	slices.Sort(shown)
	shown = slices.Compact(shown)
	return []prometheus.Collector{h.requests, &slotCollector{handler: h, groups: shown[:min(len(shown), maxShownGroups)]}}
}

// slotCollector reads how many slots groups have, and how many of them are held.
type slotCollector struct {
	handler *Handler
	groups  []string
}

var (
	heldDesc = prometheus.NewDesc("locksmith_slots_held", "Reboot slots that are held.", []string{"group"}, nil)
	maxDesc  = prometheus.NewDesc("locksmith_slots_max", "Reboot slots there are.", []string{"group"}, nil)
)

// Describe names both metrics.
func (c *slotCollector) Describe(out chan<- *prometheus.Desc) {
	out <- heldDesc
	out <- maxDesc
}

// Collect reads the groups one after another, all within scrapeTimeout.
func (c *slotCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	for _, name := range c.groups {
		group, err := slots.NewGroup(c.handler.Client, c.handler.Prefix, name)
		if err != nil {
			continue // Validate has let it pass
		}
		state, err := group.State(ctx)
		if err != nil {
			c.handler.Logger.Debug("slots are missing in the metrics", "group", name, "error", err)
			return
		}
		out <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(len(state.Holders)), name)
		out <- prometheus.MustNewConstMetric(maxDesc, prometheus.GaugeValue, float64(state.Max), name)
	}
}
