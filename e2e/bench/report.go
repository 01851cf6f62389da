package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// table gathers results: workload, then side.
type table struct {
	order   []string
	results map[string]map[string][]result
}

func newTable() *table { return &table{results: map[string]map[string][]result{}} }

func (t *table) add(workload, side string, r result) {
	if t.results[workload] == nil {
		t.results[workload] = map[string][]result{}
		t.order = append(t.order, workload)
	}
	t.results[workload][side] = append(t.results[workload][side], r)
}

// metric is one figure of a result, and how to write it.
type metric struct {
	name  string
	of    func(result) float64
	write func(float64) string
}

var metrics = []metric{
	{"per second", func(r result) float64 { return r.perSecond }, func(v float64) string { return fmt.Sprintf("%.0f", v) }},
	{"server CPU/op", func(r result) float64 { return float64(r.cpuPerOp) }, micros},
	{"p50", func(r result) float64 { return float64(r.p50) }, micros},
	{"p99", func(r result) float64 { return float64(r.p99) }, micros},
	{"p99 before", func(r result) float64 { return float64(r.p99Before) }, micros},
	{"p99 ÷ before", func(r result) float64 { return r.ratio() }, func(v float64) string { return fmt.Sprintf("%.2f", v) }},
	{"longest", func(r result) float64 { return float64(r.longestMeanwhile) }, micros},
	{"failed", func(r result) float64 { return float64(r.failed) }, func(v float64) string { return fmt.Sprintf("%.0f", v) }},
	{"it took", func(r result) float64 { return float64(r.took) }, micros},
}

func micros(v float64) string { return fmt.Sprintf("%.1f µs", v/float64(time.Microsecond)) }

// print writes the medians of both sides, the lowest and highest behind them,
// and coordd ÷ etcd: the median of the pairs' ratios.
func (t *table) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "workload\tfigure\tetcd\tcoordd\tcoordd ÷ etcd")
	for _, name := range t.order {
		etcd, coordd := t.results[name]["etcd"], t.results[name]["coordd"]
		for _, m := range metrics {
			e, c := values(etcd, m.of), values(coordd, m.of)
			if slices.Max(e) == 0 && slices.Max(c) == 0 {
				continue
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", name, m.name, spread(e, m.write), spread(c, m.write), ratio(e, c))
		}
	}
	return tw.Flush()
}

// ratio is that of coordd's values to etcd's, pair by pair, where there is one.
func ratio(etcd, coordd []float64) string {
	if slices.Min(etcd) == 0 {
		return "-"
	}
	return spread(ratiosOf(etcd, coordd), times)
}

// ratiosOf divides pair by pair.
func ratiosOf(below, above []float64) []float64 {
	ratios := make([]float64, len(below))
	for i := range ratios {
		ratios[i] = above[i] / below[i]
	}
	return ratios
}

func values(rs []result, of func(result) float64) []float64 {
	vs := make([]float64, len(rs))
	for i, r := range rs {
		vs[i] = of(r)
	}
	return vs
}

func spread(vs []float64, write func(float64) string) string {
	return fmt.Sprintf("%s (%s–%s)", write(median(vs)), write(slices.Min(vs)), write(slices.Max(vs)))
}

func median(vs []float64) float64 {
	sorted := slices.Sorted(slices.Values(vs))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}
