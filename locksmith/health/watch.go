package health

import (
	"fmt"
	"slices"
	"time"
)

// Interval is how long to wait between two looks at a machine whose health is awaited.
const Interval = 2 * time.Second

// State is how far a machine's health is known.
type State string

// The states of a machine that was booted. They are kept in records: their names are for good.
const (
	Checking State = "checking" // not healthy yet, and the deadline not over
	Healthy  State = "healthy"  // all has passed for long enough
	Failed   State = "failed"   // not healthy by the deadline; it may be later
)

// Verdict is what is known after a report.
type Verdict struct {
	State   State
	Passing time.Time // since when all checks have passed; zero: they have not
	Why     string    // for people; empty when healthy
}

// Watch judges the reports of one boot. It belongs to one goroutine.
type Watch struct {
	stableFor, deadline time.Duration
	booted              time.Time
	passing             time.Time // since when every report has passed; zero: the last has not
	instances           []string  // of the last report; nil: there was none
	unbroken            bool      // every report has passed, the first one too
}

// NewWatch begins to judge a machine that was booted at some time.
func NewWatch(c *Config, booted time.Time) *Watch {
	return &Watch{stableFor: c.StableFor, deadline: c.Deadline, booted: booted}
}

// Observe takes the report of the checks that ended now, and judges. What was
// started anew since the report before has not passed without a break, whatever
// each of the two said.
//
// A machine that passes at its deadline is given the time to prove stable. One that
// passes later, or begins anew later, has failed until it is healthy; unless nobody could
// look at it before, because the store was away, and it has passed ever since.
func (w *Watch) Observe(now time.Time, r Report) Verdict {
	instances := make([]string, len(r.Results))
	for i, result := range r.Results {
		instances[i] = result.Instance
	}
	isFirst := w.instances == nil
	switch {
	case !r.Passed:
		w.passing, w.unbroken = time.Time{}, false
	case isFirst:
		w.passing, w.unbroken = now, true
	case w.passing.IsZero(), now.Before(w.passing), !slices.Equal(instances, w.instances):
		w.passing, w.unbroken = now, false
	}
	w.instances = instances
	if r.Passed && now.Sub(w.passing) >= w.stableFor {
		return Verdict{State: Healthy, Passing: w.passing}
	}
	v := Verdict{State: Checking, Passing: w.passing, Why: r.Why()}
	decisive := now // the time that the deadline is held against
	if r.Passed {
		decisive = w.passing
		v.Why = fmt.Sprintf("all checks pass, for %v of %v", now.Sub(w.passing).Round(time.Second), w.stableFor)
	}
	if w.deadline > 0 && !w.unbroken && decisive.Sub(w.booted) >= w.deadline {
		v.State = Failed
		v.Why = fmt.Sprintf("not healthy %v after the boot: %s", now.Sub(w.booted).Round(time.Second), v.Why)
	}
	return v
}
