package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newCheckCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "check",
		Short: "Measure whether the cluster is good for a load",
		Example: `  coordctl check perf --load m
  coordctl check datascale --load s --auto-compact --auto-defrag`,
	}, newCheckPerfCommand(s), newCheckDatascaleCommand(s))
}

// loadNames are the names of the loads, by the short one.
var loadNames = map[string]string{
	"s": "s", "small": "s", "m": "m", "medium": "m", "l": "l", "large": "l", "xl": "xl", "xLarge": "xl",
}

// checkFlags are what the two checks have in common.
type checkFlags struct {
	load, prefix            string
	autoCompact, autoDefrag bool
}

func (f *checkFlags) bind(cmd *cobra.Command, prefix string) {
	fs := cmd.Flags()
	fs.StringVar(&f.load, "load", "s", "how much: s(mall), m(edium), l(arge) or xl (xLarge)")
	fs.StringVar(&f.prefix, "prefix", prefix, "where to write; there must be no keys")
	fs.BoolVar(&f.autoCompact, "auto-compact", false, "compact the history afterwards: all of the store's")
	fs.BoolVar(&f.autoDefrag, "auto-defrag", false, "defragment the endpoints afterwards")
	completeFlag(cmd, "load", "small", "medium", "large", "xLarge")
}

// check finds the load's short name.
func (f *checkFlags) check(s *session, cmd *cobra.Command, args []string) (load string, err error) {
	if err := s.checkFormat(); err != nil {
		return "", err
	}
	if err := noArguments(cmd, args); err != nil {
		return "", err
	}
	load, ok := loadNames[f.load]
	if !ok {
		return "", withCode(exitBadFeature, fmt.Errorf("unknown load option %s", f.load))
	}
	return load, nil
}

// checkClients makes the clients of a check, each with its connection, and demands that there are no keys yet.
func (s *session) checkClients(ctx context.Context, f *checkFlags, n int) (clients []*clientv3.Client, err error) {
	for range n {
		c, err := s.client(s.endpoints...)
		if err != nil {
			closeAll(clients)
			return nil, err
		}
		clients = append(clients, c)
	}
	ctx, cancel := context.WithTimeout(ctx, s.commandTimeout)
	defer cancel()
	resp, err := clients[0].Get(ctx, f.prefix, clientv3.WithPrefix(), clientv3.WithLimit(1))
	if err == nil && len(resp.Kvs) > 0 {
		err = withCode(exitInvalidInput, fmt.Errorf("prefix %q has keys. Delete with 'coordctl del --prefix %s' first", f.prefix, f.prefix))
	}
	if err != nil {
		closeAll(clients)
		return nil, err
	}
	return clients, nil
}

func closeAll(clients []*clientv3.Client) {
	for _, c := range clients {
		c.Close()
	}
}

// cleanTimeout bounds each step of a check's cleaning up.
const cleanTimeout = 30 * time.Second

// clean deletes the check's keys and does what the flags want done then. It works also when ctx has ended.
func (f *checkFlags) clean(ctx context.Context, cmd *cobra.Command, c *clientv3.Client) error {
	out := cmd.OutOrStdout()
	step := func(do func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
		return do(ctx)
	}
	var rev int64
	err := step(func(ctx context.Context) error {
		resp, err := c.Delete(ctx, f.prefix, clientv3.WithPrefix())
		if err == nil {
			rev = resp.Header.GetRevision()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete the keys of the check: %w", err)
	}
	if f.autoCompact {
		fmt.Fprintf(out, "Compacting with revision %d\n", rev)
		if err := step(func(ctx context.Context) error {
			_, err := c.Compact(ctx, rev, clientv3.WithCompactPhysical())
			return err
		}); err != nil {
			return fmt.Errorf("compact: %w", err)
		}
		fmt.Fprintf(out, "Compacted with revision %d\n", rev)
	}
	if !f.autoDefrag {
		return nil
	}
	for _, endpoint := range c.Endpoints() {
		fmt.Fprintf(out, "Defragmenting %q\n", endpoint)
		if err := step(func(ctx context.Context) error {
			_, err := c.Defragment(ctx, endpoint)
			return err
		}); err != nil {
			return fmt.Errorf("defragment %s: %w", endpoint, err)
		}
		fmt.Fprintf(out, "Defragmented %q\n", endpoint)
	}
	return nil
}

// putting is a load of puts under way: workers that put what comes from a channel, and what they have measured.
type putting struct {
	mu        sync.Mutex // guards what follows
	latencies []time.Duration
	errors    map[string]int // how often each came
}

// putKeys puts each key that comes, with the value, by all the clients at once, until keys is closed or ctx ends.
func putKeys(ctx context.Context, clients []*clientv3.Client, keys <-chan string, value string, done func()) *putting {
	p := &putting{errors: make(map[string]int)}
	var workers sync.WaitGroup
	for _, c := range clients {
		workers.Go(func() {
			for key := range keys {
				start := time.Now()
				_, err := c.Put(ctx, key, value)
				p.record(time.Since(start), err, ctx)
				done()
			}
		})
	}
	workers.Wait()
	return p
}

func (p *putting) record(took time.Duration, err error, ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.latencies = append(p.latencies, took)
	case ctx.Err() == nil: // what an interruption breaks off has not failed
		p.errors[err.Error()]++
	}
}

// spread returns the slowest put and the standard deviation of all.
func (p *putting) spread() (slowest, stddev time.Duration) {
	n := float64(max(len(p.latencies), 1))
	var sum, squares float64
	for _, l := range p.latencies {
		slowest = max(slowest, l)
		sum += float64(l)
	}
	for _, l := range p.latencies {
		squares += math.Pow(float64(l)-sum/n, 2)
	}
	return slowest, time.Duration(math.Sqrt(squares / n))
}

// failures tells of the errors, "" if there are none.
func (p *putting) failures() string {
	if len(p.errors) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("FAIL: too many errors\n")
	for text, n := range p.errors {
		fmt.Fprintf(&b, "FAIL: ERROR(%s) -> %d\n", cmp.Or(text, "unknown"), n)
	}
	return b.String()
}
