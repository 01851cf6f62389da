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

// slotCollector reads how the slots of groups are.
type slotCollector struct {
	handler *Handler
	groups  []string
}

// gauges are what is shown of each group.
var gauges = []struct {
	desc  *prometheus.Desc
	value func(*slots.State) float64
}{
	{newDesc("held", "Reboot slots that are held."), func(s *slots.State) float64 { return float64(len(s.Holders)) }},
	{newDesc("max", "Reboot slots there are."), func(s *slots.State) float64 { return float64(s.Max) }},
	{newDesc("waiting", "Machines that wait in the queue for a slot."), func(s *slots.State) float64 { return float64(s.Waiting) }},
	{newDesc("failed", "Holders that did not come back well."), func(s *slots.State) float64 { return float64(failed(s.Holders)) }},
	{newDesc("paused", "1 while no slots are granted, else 0."), func(s *slots.State) float64 {
		if s.Pause != nil {
			return 1
		}
		return 0
	}},
	{newDesc("oldest_timestamp_seconds", "When the slot was taken that is held longest, in seconds since 1970; 0 without holders."), oldest},
}

func newDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("locksmith_slots_"+name, help, []string{"group"}, nil)
}

func failed(holders []slots.Record) (n int) {
	for _, r := range holders {
		if r.Failed != "" {
			n++
		}
	}
	return n
}

func oldest(s *slots.State) float64 {
	if len(s.Holders) == 0 {
		return 0
	}
	first := slices.MinFunc(s.Holders, func(a, b slots.Record) int { return a.Since.Compare(b.Since) })
	return float64(first.Since.Unix())
}

// Describe names all gauges.
func (c *slotCollector) Describe(out chan<- *prometheus.Desc) {
	for _, g := range gauges {
		out <- g.desc
	}
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
		for _, g := range gauges {
			out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(state), name)
		}
	}
}
