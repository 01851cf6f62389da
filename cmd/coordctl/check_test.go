package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/coorddtest"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestPutAtRate: the load is what was asked for, no more, and the measure knows each put.
func TestPutAtRate(t *testing.T) {
	t.Parallel()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{coorddtest.Start(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	load := perfLoad{putsPerSecond: 100, clients: 4, duration: time.Second}
	var status strings.Builder
	measured, _ := putAtRate(t.Context(), &status, "check/", []*clientv3.Client{c, c, c, c}, load)
	resp, err := c.Get(t.Context(), "check/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || resp.Count != 100 || len(measured.latencies) != 100 || len(measured.errors) != 0 {
		t.Errorf("%d keys, %d measured, %v, %v", resp.Count, len(measured.latencies), measured.errors, err)
	}
	if status.String() != "1 of 1 seconds\n" {
		t.Errorf("status: %q", status.String())
	}
}

func TestReportPerf(t *testing.T) {
	even := func(n int, took time.Duration) *putting {
		p := &putting{errors: map[string]int{}}
		for range n {
			p.latencies = append(p.latencies, took)
		}
		return p
	}
	slow := even(100, time.Millisecond)
	slow.latencies[0] = 600 * time.Millisecond
	uneven := even(100, time.Millisecond)
	for i := range 50 {
		uneven.latencies[i] = 400 * time.Millisecond
	}
	failed := even(100, time.Millisecond)
	failed.record(0, context.DeadlineExceeded, t.Context())
	for name, c := range map[string]struct {
		p    *putting
		want string
	}{
		"good":   {even(100, time.Millisecond), "PASS: Throughput is 101 writes/s\nPASS: Slowest request took 0.001000s\nPASS: Stddev is 0.000000s\nPASS\n"},
		"few":    {even(80, time.Millisecond), "FAIL: Throughput too low: 81 writes/s\nPASS: Slowest request took 0.001000s\nPASS: Stddev is 0.000000s\nFAIL\n"},
		"slow":   {slow, "PASS: Throughput is 101 writes/s\nSlowest request took too long: 0.600000s\nPASS: Stddev is 0.059600s\nFAIL\n"},
		"uneven": {uneven, "PASS: Throughput is 101 writes/s\nPASS: Slowest request took 0.400000s\nStddev too high: 0.199500s\nFAIL\n"},
		"failed": {failed, "FAIL: too many errors\nFAIL: ERROR(context deadline exceeded) -> 1\nPASS: Throughput is 101 writes/s\nPASS: Slowest request took 0.001000s\nPASS: Stddev is 0.000000s\nFAIL\n"},
	} {
		var out strings.Builder
		passed := reportPerf(&out, c.p, 100, time.Second)
		if out.String() != c.want || passed != strings.HasSuffix(c.want, "\nPASS\n") {
			t.Errorf("%s: %t\n%s", name, passed, out.String())
		}
	}
}
