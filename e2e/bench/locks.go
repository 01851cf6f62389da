package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"
)

// errMissed says that a target was not met.
var errMissed = errors.New("a target is missed")

// claim is what locks on coordd shall be, and what was measured.
type claim struct {
	what, target, measured string
	met                    bool
}

// handoffTargets says how often recipes.Mutex on coordd shall hand over to
// concurrency.Mutex on etcd, by contenders.
var handoffTargets = []struct {
	contenders int
	times      float64
}{{2, 50}, {10, 10}, {1000, 5}}

// compareLocks measures locks on both sides in turn and prints what was claimed.
func compareLocks(ctx context.Context, s settings, sides []*side) error {
	fmt.Printf("locks: %d member(s), %d pairs of %s\n\n", s.members, s.pairs, s.duration)
	b := lockBench{settings: s, sides: sides, table: newTable()}
	for _, part := range b.parts() {
		if !s.run.MatchString(part.name) {
			continue
		}
		if err := part.measure(ctx); err != nil {
			return err
		}
	}
	fmt.Fprint(os.Stderr, "\r\033[K")
	if err := b.table.print(os.Stdout); err != nil {
		return err
	}
	fmt.Println()
	missed, err := printClaims(os.Stdout, b.claims)
	if err == nil && missed && s.check {
		err = errMissed
	}
	return err
}

type lockBench struct {
	settings
	sides  []*side // etcd, coordd
	table  *table
	claims []claim
}

// lockPart is a part of the comparison; -run chooses by name.
type lockPart struct {
	name    string
	measure func(context.Context) error
}

func (b *lockBench) parts() []lockPart {
	return []lockPart{
		{"handoffs", b.handoffs}, {"crowd", b.crowd}, {"uncontended", b.uncontended},
		{"deletions", b.deletions}, {"expiries", b.expiries},
	}
}

func (b *lockBench) claim(what, target, measured string, met bool) {
	b.claims = append(b.claims, claim{what, target, measured, met})
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
}

// handoffs compares the libraries on both sides.
func (b *lockBench) handoffs(ctx context.Context) error {
	for _, target := range handoffTargets {
		for pair := range b.pairs {
			for _, library := range libraries() {
				c := contest{library, target.contenders}
				for _, side := range b.sides {
					progress("%s: %s, pair %d of %d", c.name(), side.name, pair+1, b.pairs)
					if err := b.contest(ctx, c, side); err != nil {
						return err
					}
				}
			}
		}
		theirs := b.table.results[contest{concurrencyLibrary(), target.contenders}.name()]["etcd"]
		ours := b.table.results[contest{recipesLibrary(), target.contenders}.name()]["coordd"]
		ratios := ratiosOf(values(theirs, perSecond), values(ours, perSecond))
		b.claim(fmt.Sprintf("handoffs, %d contenders: recipes on coordd ÷ concurrency on etcd", target.contenders),
			fmt.Sprintf("≥ %g", target.times), spread(ratios, times), median(ratios) >= target.times)
	}
	return nil
}

func (b *lockBench) contest(ctx context.Context, c contest, side *side) error {
	r, err := c.measure(ctx, side, b.duration)
	if err != nil {
		return fmt.Errorf("%s on %s: %w", c.name(), side.name, err)
	}
	b.table.add(c.name(), side.name, r)
	return nil
}

func perSecond(r result) float64 { return r.perSecond }
func cpuPerOp(r result) float64  { return float64(r.cpuPerOp) }
func times(v float64) string     { return fmt.Sprintf("%.2f", v) }

// crowd compares what a handoff costs coordd when few wait and when many do.
func (b *lockBench) crowd(ctx context.Context) error {
	const few, many, most = 10, 10_000, 2
	var cpu [2][]float64
	for pair := range b.pairs {
		for i, n := range []int{few, many} {
			c := contest{recipesLibrary(), n}
			progress("server CPU: %d contenders, pair %d of %d", n, pair+1, b.pairs)
			r, err := c.measure(ctx, b.sides[1], b.duration)
			if err != nil {
				return fmt.Errorf("%s on coordd: %w", c.name(), err)
			}
			cpu[i] = append(cpu[i], cpuPerOp(r))
		}
	}
	ratios := ratiosOf(cpu[0], cpu[1])
	b.claim(fmt.Sprintf("coordd's CPU a handoff: at %d contenders %s, at %d %s", few, spread(cpu[0], micros), many, spread(cpu[1], micros)),
		fmt.Sprintf("≤ %d times", most), spread(ratios, times), median(ratios) <= most)
	return nil
}

// uncontended counts the commits of a lock that nobody else wants.
func (b *lockBench) uncontended(ctx context.Context) error {
	for _, side := range b.sides {
		progress("uncontended: %s", side.name)
		r, commits, err := uncontended(ctx, side, b.duration)
		if err != nil {
			return fmt.Errorf("uncontended lock on %s: %w", side.name, err)
		}
		b.table.add("lock and unlock, uncontended, recipes.Mutex", side.name, r)
		b.claim("commits of an uncontended lock and unlock on "+side.name, "2", fmt.Sprintf("%g", commits), commits == 2)
	}
	return nil
}

func uncontended(ctx context.Context, s *side, d time.Duration) (r result, commits float64, err error) {
	clients, err := s.connect(1)
	if err != nil {
		return result{}, 0, err
	}
	defer closeClients(clients)
	c, err := recipesLibrary().enter(ctx, clients[0])
	if err != nil {
		return result{}, 0, err
	}
	defer c.leave()
	before, err := revision(ctx, clients[0])
	if err != nil {
		return result{}, 0, err
	}
	pairs, begin := 0, time.Now()
	for ; time.Since(begin) < d; pairs++ {
		if err := c.pass(ctx); err != nil {
			return result{}, 0, err
		}
	}
	elapsed := time.Since(begin)
	after, err := revision(ctx, clients[0])
	return result{perSecond: float64(pairs) / elapsed.Seconds()}, float64(after-before) / float64(pairs), err
}

// deletions times how soon a holder learns that its key was deleted.
func (b *lockBench) deletions(ctx context.Context) error {
	const most = 10 * time.Millisecond
	for _, side := range b.sides {
		progress("own key deleted: %s", side.name)
		d, err := deleteOwnKeys(ctx, side)
		if err != nil {
			return fmt.Errorf("own key deleted on %s: %w", side.name, err)
		}
		b.claim(fmt.Sprintf("own key deleted on %s: the hold's context ends, p99 %v; p99 of the deletion's own round trip %v", side.name, d.ended, d.roundTrip),
			"a round trip + 10ms", fmt.Sprintf("a round trip + %v", d.late), d.late <= most)
	}
	return nil
}

// expiries times how soon locks are free whose holders are gone.
func (b *lockBench) expiries(ctx context.Context) error {
	const most = time.Second
	for _, side := range b.sides {
		progress("leases expire together: %s", side.name)
		e, err := expireTogether(ctx, side)
		if err != nil {
			return fmt.Errorf("leases that expire together on %s: %w", side.name, err)
		}
		b.claim(fmt.Sprintf("%d leases expire together on %s: the last lock is free; its waiter has it after %v, longest put meanwhile %v; CPU of server %v, of %d waiters %v",
			e.leases, side.name, e.acquired, e.longestPut, e.serverCPU, e.leases, e.clientCPU), "within 1s", e.freed.String(), e.freed <= most)
	}
	return nil
}

func printClaims(w io.Writer, claims []claim) (missed bool, err error) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "target\tmeasured\tmet\twhat")
	for _, c := range claims {
		met := "yes"
		if !c.met {
			met, missed = "NO", true
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", c.target, c.measured, met, c.what)
	}
	return missed, tw.Flush()
}

// handoffWorkload is two contenders as one workload among others.
func handoffWorkload(s settings, library library) workload {
	c := contest{library, 2}
	return workload{c.name(), func(ctx context.Context, side *side) (result, error) {
		return c.measure(ctx, side, s.duration)
	}}
}
