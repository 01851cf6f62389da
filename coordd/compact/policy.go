package compact

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Modes of auto-compaction, as in etcd.
const (
	Periodic = "periodic" // keep the history of a time
	Revision = "revision" // keep a number of revisions
)

// A Policy says what to compact. It keeps no time of its own. Its methods are
// called by one goroutine.
type Policy interface {
	// Interval is the time between two looks.
	Interval() time.Duration
	// Look notes the current revision, and returns the one to compact at, 0 for
	// none. It is told again and again until Compacted.
	Look(now time.Time, current int64) (revision int64)
	// Compacted says that the store is compacted at a revision that Look returned.
	Compacted(now time.Time, revision int64)
}

// NewPolicy reads mode and retention as etcd's flags have them: for Periodic a
// duration, or a bare number of hours; for Revision a number of revisions. A
// retention of 0 is no policy: nil. start is now.
func NewPolicy(mode, retention string, start time.Time) (Policy, error) {
	n, err := strconv.ParseInt(retention, 10, 64)
	bare := err == nil
	switch {
	case mode != Periodic && mode != Revision:
		return nil, fmt.Errorf("mode %q: give %s or %s", mode, Periodic, Revision)
	case bare && n == 0:
		return nil, nil
	case mode == Revision && (!bare || n < 0):
		return nil, fmt.Errorf("retention %q: give the number of revisions to keep", retention)
	case mode == Revision:
		return &byRevision{keep: n}, nil
	}
	const maxHours = 1 << 20
	period := time.Duration(n) * time.Hour
	if bare && (n < 0 || n > maxHours) {
		return nil, errors.New("retention: give hours from 0 to " + strconv.Itoa(maxHours))
	}
	if !bare {
		if period, err = time.ParseDuration(retention); err != nil {
			return nil, fmt.Errorf("retention %q: give hours, or a duration as 30m", retention)
		}
	}
	if period == 0 {
		return nil, nil
	}
	if period < minPeriod {
		return nil, fmt.Errorf("retention %q: give at least %s", retention, minPeriod)
	}
	return newByTime(period, start), nil
}

const (
	// minPeriod keeps the looks, ten a period, apart.
	minPeriod = 100 * time.Millisecond
	// A period, of which no more than an hour counts, has so many looks.
	looksPerPeriod = 10
	// revisionInterval is etcd's, where retention is by revision.
	revisionInterval = 5 * time.Minute
)

// byTime keeps what is younger than a period. It remembers the revision at each
// look and compacts at the one of a period ago: for the first time after a whole
// period, then every period, or every hour if that is shorter.
type byTime struct {
	period    time.Duration
	revisions []int64   // at the last looks, the oldest first; bound: those of a period and one
	last      time.Time // of the last compaction, or the start
	wait      time.Duration
	compacted int64
}

func newByTime(period time.Duration, start time.Time) *byTime {
	return &byTime{period: period, last: start, wait: period}
}

// cycle is the time between two compactions.
func (p *byTime) cycle() time.Duration { return min(p.period, time.Hour) }

func (p *byTime) Interval() time.Duration { return p.cycle() / looksPerPeriod }

func (p *byTime) Look(now time.Time, current int64) (revision int64) {
	oldest := current
	if len(p.revisions) > 0 {
		oldest = p.revisions[0]
	}
	p.revisions = append(p.revisions, current)
	if len(p.revisions) > int(p.period/p.Interval()) {
		p.revisions = p.revisions[1:]
	}
	if now.Sub(p.last) < p.wait || oldest == p.compacted {
		return 0
	}
	return oldest
}

func (p *byTime) Compacted(now time.Time, revision int64) {
	p.last, p.wait, p.compacted = now, p.cycle(), revision
}

// byRevision keeps a number of revisions.
type byRevision struct {
	keep, compacted int64
}

func (p *byRevision) Interval() time.Duration { return revisionInterval }

func (p *byRevision) Look(_ time.Time, current int64) (revision int64) {
	if revision = current - p.keep; revision <= 0 || revision == p.compacted {
		return 0
	}
	return revision
}

func (p *byRevision) Compacted(_ time.Time, revision int64) { p.compacted = revision }
