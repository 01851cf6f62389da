// Command bench runs coordd and etcd side by side and compares them: puts and
// ranges by many clients, and a lock handed back and forth; or, with -locks, all
// that is claimed of locks. Both fsync every acknowledged write. The sides are interleaved, a pair at a time, so that what
// else the machine does falls on both; it prints medians and their ratio.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	coordd, etcd string
	pairs        int
	duration     time.Duration
	load         load
	members      int
	run          *regexp.Regexp
	locks, check bool
}

func run(ctx context.Context) error {
	var s settings
	flag.StringVar(&s.coordd, "coordd", "bin/coordd", "the coordd to measure")
	flag.StringVar(&s.etcd, "etcd", "e2e/peers/bin/etcd", "the etcd to compare with")
	flag.IntVar(&s.pairs, "pairs", 5, "how often each side is measured")
	flag.DurationVar(&s.duration, "duration", 5*time.Second, "length of one measurement")
	flag.IntVar(&s.members, "members", 1, "members of each cluster")
	flag.IntVar(&s.load.clients, "clients", 200, "requests under way at once")
	flag.IntVar(&s.load.connections, "connections", 20, "connections they share")
	flag.IntVar(&s.load.keys, "keys", 1_000_000, "key space")
	flag.IntVar(&s.load.valueBytes, "value", 256, "bytes of a value")
	only := flag.String("run", "", "measure only workloads, or with -locks parts, whose names match this regular expression")
	flag.BoolVar(&s.locks, "locks", false, "measure what is claimed of locks instead")
	flag.BoolVar(&s.check, "check", false, "with -locks, exit 1 if a target is missed")
	flag.Parse()
	var err error
	if s.run, err = regexp.Compile(*only); err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	dir, err := os.MkdirTemp("", "coordd-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sides := []*side{{name: "etcd", program: s.etcd}, {name: "coordd", program: s.coordd}}
	for _, side := range sides {
		sideDir := filepath.Join(dir, side.name)
		if err := os.Mkdir(sideDir, 0o755); err != nil {
			return err
		}
		c, err := cluster.Start(ctx, cluster.Spec{Program: side.program, Size: s.members, Dir: sideDir})
		if err != nil {
			return err
		}
		defer c.Kill()
		side.cluster = c
		if s.locks {
			continue
		}
		if err := s.load.fill(ctx, side); err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
	}
	if s.locks {
		return compareLocks(ctx, s, sides)
	}
	return compare(ctx, s, sides)
}

// side is one of the two that are compared.
type side struct {
	name, program string
	cluster       *cluster.Cluster
}

func compare(ctx context.Context, s settings, sides []*side) error {
	fmt.Printf("%d member(s), %d clients on %d connections, %d keys, values of %d B, %d pairs of %s\n\n",
		s.members, s.load.clients, s.load.connections, s.load.keys, s.load.valueBytes, s.pairs, s.duration)
	t := newTable()
	for _, w := range workloads(s) {
		for pair := range s.pairs {
			for _, side := range sides {
				fmt.Fprintf(os.Stderr, "\r\033[K%s: %s, pair %d of %d", w.name, side.name, pair+1, s.pairs)
				r, err := w.run(ctx, side)
				if err != nil {
					return fmt.Errorf("%s on %s: %w", w.name, side.name, err)
				}
				t.add(w.name, side.name, r)
			}
		}
	}
	fmt.Fprint(os.Stderr, "\r\033[K")
	return t.print(os.Stdout)
}
