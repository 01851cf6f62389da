package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
)

// size is how much is tried.
type size struct {
	lanes      int // trials of an arm with a stopped holder
	doubleHold int
	skew       func(kind) skewTrial
	rounds     int // of faults
	faults     int // in a round; 0: all
	mutants    bool
}

func sizeOf(quick bool) size {
	if quick {
		return size{lanes: 8, doubleHold: 24, skew: oneThird, rounds: 1, faults: 3}
	}
	return size{lanes: 100, doubleHold: 1000, skew: onePerCent, rounds: 2, mutants: true}
}

// prove runs the arms whose names match.
func prove(ctx context.Context, p programs, dir string, n size, only *regexp.Regexp) ([]finding, error) {
	if err := os.Mkdir(filepath.Join(dir, "members"), 0o700); err != nil {
		return nil, err
	}
	s, err := newStage(ctx, p, filepath.Join(dir, "members"), 3)
	if err != nil {
		return nil, err
	}
	defer s.close()
	findings := runTogether(ctx, append(s.arms(n), restoreArms(p, dir, n)...), only)
	findings = append(findings, runTogether(ctx, soakArms(p, dir, n), only)...)
	if n.mutants {
		findings = append(findings, runTogether(ctx, mutantArms(), only)...)
	}
	return findings, nil
}

// soakArms are all that is designed, with all that can happen.
func soakArms(p programs, dir string, n size) []arm {
	return []arm{{"8 everything as designed, all faults", false, func(ctx context.Context, _ string) (outcome, error) {
		return runSoak(ctx, p, filepath.Join(dir, "soak"), n.rounds, n.faults)
	}}}
}

// restoreArms have clusters of their own.
func restoreArms(p programs, dir string, n size) []arm {
	restored := func(name string, found, epoch bool) arm {
		return arm{name, found, func(ctx context.Context, name string) (outcome, error) {
			return restoreTrial(ctx, p, filepath.Join(dir, name), epoch, n.lanes)
		}}
	}
	return []arm{
		restored("7 a backup restored, the epoch as before", true, false),
		restored("7 the same, the epoch raised", false, true),
	}
}

// runTogether runs arms at the same time: they share a cluster and nothing else.
func runTogether(ctx context.Context, arms []arm, only *regexp.Regexp) (findings []finding) {
	for _, a := range arms {
		if only.MatchString(a.name) {
			findings = append(findings, finding{arm: a})
		}
	}
	var running sync.WaitGroup
	for i := range findings {
		running.Go(func() {
			f := &findings[i]
			f.outcome, f.err = f.run(ctx, fmt.Sprintf("arm%d", i))
		})
	}
	running.Wait()
	return findings
}

// arms are those that share a cluster which nothing happens to.
func (s *stage) arms(n size) []arm {
	overtaken := func(name string, found bool, o overtaking) arm {
		return arm{name, found, func(ctx context.Context, name string) (outcome, error) { return o.run(ctx, s, name, n.lanes) }}
	}
	doubleHold := func(name string, found bool, k kind) arm {
		return arm{name, found, func(ctx context.Context, name string) (outcome, error) {
			return n.skew(k).run(ctx, s, name, n.doubleHold)
		}}
	}
	slots := func(name string, found bool, p policy) arm {
		return arm{name, found, func(ctx context.Context, name string) (outcome, error) { return slotTrial(ctx, s, name, p, n.lanes) }}
	}
	transfer := func(name string, found, byCandidacy bool) arm {
		return arm{name, found, func(ctx context.Context, name string) (outcome, error) {
			return transferTrial(ctx, s, name, byCandidacy, n.lanes)
		}}
	}
	return []arm{
		overtaken("1 unfenced, stopped past the TTL", true, overtaking{policy: unfenced}),
		overtaken("1 the same, fenced", false, overtaking{policy: marked, advance: true}),
		doubleHold("2 deadline only, cut off, the store's clock fast", false, mutex),
		doubleHold("2 the same, etcd's concurrency package", true, etcdMutex),
		overtaken("3 deadline only, stopped between Valid and the write", true, overtaking{policy: unfenced, check: true}),
		overtaken("3 the same, fenced", false, overtaking{policy: marked, advance: true, check: true}),
		overtaken("4 a mark that is not raised before the first read", true, overtaking{policy: marked, early: true}),
		overtaken("4 the same, raised", false, overtaking{policy: marked, advance: true, early: true}),
		slots("5 one mark for a whole semaphore", true, oneMark),
		slots("5 the same, one for each slot", false, marked),
		transfer("6 an election's token is the candidacy's create revision, with a transfer", true, true),
		transfer("6 the same, that of the grant", false, false),
	}
}
