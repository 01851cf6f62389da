package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// perfLoad is a rate of puts for a time, each of a key with 256 and a value with 1024 bytes.
type perfLoad struct {
	putsPerSecond int
	clients       int
	duration      time.Duration
}

// perfLoads are etcdctl's.
var perfLoads = map[string]perfLoad{
	"s":  {putsPerSecond: 150, clients: 50, duration: time.Minute},
	"m":  {putsPerSecond: 1000, clients: 200, duration: time.Minute},
	"l":  {putsPerSecond: 8000, clients: 500, duration: time.Minute},
	"xl": {putsPerSecond: 15000, clients: 1000, duration: time.Minute},
}

func newCheckPerfCommand(s *session) *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "perf",
		Short: "Check that the cluster keeps up with a rate of writes, for a minute",
		Long: `Check that the cluster keeps up with a rate of writes, for a minute: 150 a second by 50 clients (s), 1000 by 200
(m), 8000 by 500 (l) or 15000 by 1000 (xl). It passes if 90 % of the rate is reached, no write takes more than half a
second and their standard deviation is at most a tenth. It deletes what it has written.`,
		Example: `  coordctl check perf --load m --auto-compact`,
		RunE: func(cmd *cobra.Command, args []string) error {
			load, err := f.check(s, cmd, args)
			if err != nil {
				return err
			}
			return s.checkPerf(cmd, &f, perfLoads[load])
		},
	}
	f.bind(cmd, "/etcdctl-check-perf/")
	return cmd
}

func (s *session) checkPerf(cmd *cobra.Command, f *checkFlags, load perfLoad) error {
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	clients, err := s.checkClients(ctx, f, load.clients)
	if err != nil {
		return err
	}
	defer closeAll(clients)
	measured, took := putAtRate(ctx, cmd.ErrOrStderr(), f.prefix, clients, load)
	if err := f.clean(ctx, cmd, clients[0]); err != nil {
		fmt.Fprintf(cmd.OutOrStdout(), "FAIL: Cleanup failed: ERROR(%v)\n", err)
		return errReported
	}
	if ctx.Err() != nil {
		return withCode(exitInterrupted, fmt.Errorf("interrupted after %v", took.Round(time.Second)))
	}
	if !reportPerf(cmd.OutOrStdout(), measured, float64(load.putsPerSecond), took) {
		return errReported
	}
	return nil
}

// putAtRate puts new keys at the load's rate. What falls behind is caught up with
// while the load lasts.
func putAtRate(ctx context.Context, status io.Writer, prefix string, clients []*clientv3.Client, load perfLoad) (*putting, time.Duration) {
	shown := newProgress(status, int(load.duration.Seconds()), "seconds")
	defer shown.finish()
	keys := make(chan string, len(clients))
	start := time.Now()
	go func() {
		defer close(keys)
		pace(ctx, load, start, shown, func() bool {
			select {
			case keys <- prefix + randomKey(256):
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	measured := putKeys(ctx, clients, keys, strings.Repeat("\x00", 1024), func() {})
	return measured, time.Since(start)
}

// pace calls next at the load's rate for its duration, as often in each step of time as are due, until it is false.
func pace(ctx context.Context, load perfLoad, start time.Time, shown *progress, next func() bool) {
	const step = 10 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	done, seconds := 0, 0
	for {
		var elapsed time.Duration
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			elapsed = min(now.Sub(start), load.duration)
		}
		for due := int(elapsed.Seconds() * float64(load.putsPerSecond)); done < due; done++ {
			if !next() {
				return
			}
		}
		shown.add(int(elapsed.Seconds()) - seconds)
		seconds = int(elapsed.Seconds())
		if elapsed == load.duration {
			return
		}
	}
}

func randomKey(size int) string {
	key := make([]byte, size)
	rand.Read(key)
	return string(key)
}

// reportPerf writes the verdict and returns it.
func reportPerf(w io.Writer, p *putting, wantPerSecond float64, took time.Duration) (passed bool) {
	passed = true
	verdict := func(ok bool, pass, fail string, value any) {
		if ok {
			fmt.Fprintf(w, "PASS: "+pass+"\n", value)
		} else {
			fmt.Fprintf(w, fail+"\n", value)
			passed = false
		}
	}
	if failures := p.failures(); failures != "" {
		fmt.Fprint(w, failures)
		passed = false
	}
	rate := float64(len(p.latencies)) / took.Seconds()
	slowest, stddev := p.spread()
	verdict(rate/wantPerSecond > 0.9, "Throughput is %d writes/s", "FAIL: Throughput too low: %d writes/s", int(rate)+1)
	verdict(slowest <= 500*time.Millisecond, "Slowest request took %fs", "Slowest request took too long: %fs", slowest.Seconds())
	verdict(stddev <= 100*time.Millisecond, "Stddev is %fs", "Stddev too high: %fs", stddev.Seconds())
	if passed {
		fmt.Fprintln(w, "PASS")
	} else {
		fmt.Fprintln(w, "FAIL")
	}
	return passed
}
