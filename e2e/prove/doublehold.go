package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/coordd/coordd/e2e/proxy"
)

// skewTrial is a holder that is cut off, with a store whose clock runs fast: does it
// believe that it holds when the next one already does?
type skewTrial struct {
	kind       kind
	ttlSeconds int64
	fastBy     int64 // the store's leases last so many seconds less by the holder's clock
	maxDrift   float64
}

// firstKeepalives is how long etcd's package needs until it has renewed a lease for the
// first time: before that it gives up much earlier.
const firstKeepalives = 3 * time.Second

// onePerCent is a clock that runs one per cent fast, and just what is allowed for.
func onePerCent(k kind) skewTrial {
	return skewTrial{kind: k, ttlSeconds: 100, fastBy: 1, maxDrift: 0.01}
}

// oneThird is the same in a hurry.
func oneThird(k kind) skewTrial {
	return skewTrial{kind: k, ttlSeconds: 6, fastBy: 2, maxDrift: 0.334}
}

// run returns how many of so many holders, each with a session of its own, believed too long.
func (t skewTrial) run(ctx context.Context, s *stage, name string, trials int) (found outcome, err error) {
	c := command{Lanes: trials, Name: name, Kind: t.kind, TTLSeconds: t.ttlSeconds, FastBy: t.fastBy, MaxDrift: t.maxDrift}
	a, err := s.newPlayer(ctx, c)
	if err != nil {
		return found, err
	}
	defer a.end()
	c.Sessions, c.TTLSeconds, c.FastBy, c.MaxDrift = fewSessions, 30, 0, 0
	b, err := s.newPlayer(ctx, c)
	if err != nil {
		return found, err
	}
	defer b.end()
	if _, err := a.do(ctx, command{Do: "lock"}); err != nil {
		return found, err
	}
	next := b.begin(ctx, command{Do: "lock"})
	pause(ctx, firstKeepalives)
	a.link.set(proxy.Faults{Requests: proxy.Hold, Replies: proxy.Hold})
	believed, err := a.do(ctx, command{Do: "sample", Until: now() + time.Duration(t.ttlSeconds+2)*time.Second})
	if err != nil {
		return found, err
	}
	granted, err := next()
	if err != nil {
		return found, err
	}
	return t.judge(believed, granted), nil
}

// judge compares when each holder last believed with when the next one was granted. The
// first was read before the holder was asked, the second after the lock had returned.
func (t skewTrial) judge(believed, granted []result) outcome {
	found := outcome{trials: len(believed)}
	gaps := make([]time.Duration, len(believed))
	for i := range believed {
		if gaps[i] = granted[i].At - believed[i].At; gaps[i] < 0 {
			found.violations++
		}
	}
	slices.Sort(gaps)
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	found.note = fmt.Sprintf("from belief to the next grant: least %v, median %v", round(gaps[0]), round(gaps[len(gaps)/2]))
	return found
}
