package lease

import (
	"container/heap"
	"time"
)

const (
	// maxUncheckpointed is how much of a lease's life may pass without a checkpoint; etcd's interval.
	maxUncheckpointed = 5 * time.Minute
	// minRecorded is what a lease has left when another checkpoint is not worth a log entry.
	minRecorded = 4 * time.Second
)

// A lease needs a checkpoint once half of what the log says it has is gone, or
// maxUncheckpointed. A client that keeps a lease alive does so three times a TTL, so
// its lease needs none unless the TTL is long.
//
// An entry stands in checks once, at the time it will need a checkpoint or earlier: a
// renewal puts that off. Who comes to it too early puts it in again.

// check puts an entry whose deadline was set in checks, if it is not there. The
// log may come to say that it has its whole TTL.
func (t *Table) check(e *entry) {
	if !e.checked {
		t.checkAt(e, e.deadline.Add(-uncheckedUntil(e.ttl())), e.ttl())
	}
}

func (t *Table) checkAt(e *entry, at time.Time, recorded time.Duration) {
	if recorded < minRecorded {
		return
	}
	e.checked = true
	heap.Push(&t.checks, check{at, e})
}

// uncheckedUntil is what a lease has left when it needs a checkpoint, if it had
// recorded at the last one.
func uncheckedUntil(recorded time.Duration) time.Duration {
	return recorded - min(recorded/2, maxUncheckpointed)
}

// Checkpoints returns up to max leases, with the seconds they have left at now,
// whose checkpoints are due. They are to be proposed to the log, in this term;
// when that has ended, however, Checkpointed is to be called.
func (t *Table) Checkpoints(now time.Time, max int) []Lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []Lease
	for len(found) < max && len(t.checks) > 0 && !now.Before(t.checks[0].at) {
		e := heap.Pop(&t.checks).(check).entry
		e.checked = false
		left, limit := e.deadline.Sub(now), uncheckedUntil(e.recorded())
		if t.leases[e.ID] != e || e.state != waiting || left <= 0 {
			continue
		}
		if left > limit {
			t.checkAt(e, e.deadline.Add(-limit), e.recorded())
			continue
		}
		l := e.Lease
		l.RemainingSeconds = int64((left + time.Second - 1) / time.Second)
		found = append(found, l)
		e.shortened, e.proposed = true, make(chan struct{})
		e.proposals++
		t.proposed = append(t.proposed, e)
	}
	return found
}

// Checkpointed says that the proposal of what Checkpoints returned has ended. If it
// failed it may still be applied, and the leases are due again.
func (t *Table) Checkpointed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.proposed {
		close(e.proposed)
		e.proposed = nil
		// One that was renewed meanwhile stands in checks already, and early enough.
		if t.promoted && t.leases[e.ID] == e && e.state == waiting && !e.checked {
			t.checkAt(e, e.deadline.Add(-uncheckedUntil(e.recorded())), e.recorded())
		}
	}
	t.proposed = nil
}

// Shortened says whether the log holds, or may come to hold, that the lease has
// less than its TTL. Then the next leader could end it sooner than a renewal
// promises, and a checkpoint of 0 must be applied first, and Restored be called
// with the number. Its proposal must come behind that of the last checkpoint: while
// proposing is not nil, wait until it is closed and ask again.
func (t *Table) Shortened(id ID) (number uint64, shortened bool, proposing <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.leases[id]; e != nil && e.shortened {
		return e.proposals, true, e.proposed
	}
	return 0, false, nil
}

// Restored says that a checkpoint of 0 was applied that was proposed after
// Shortened gave the number.
func (t *Table) Restored(id ID, number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.leases[id]; e != nil && e.proposals == number && e.RemainingSeconds == 0 {
		e.shortened = false
	}
}

// Checkpoint records what the log says a lease has left; 0 is its whole TTL. It
// returns the lease as it is now, false if there is none. Deadlines stay.
func (t *Table) Checkpoint(id ID, remainingSeconds int64) (Lease, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.leases[id]
	if e == nil {
		return Lease{}, false
	}
	if remainingSeconds <= 0 || remainingSeconds >= e.TTLSeconds {
		remainingSeconds = 0
	}
	e.RemainingSeconds = remainingSeconds
	e.shortened = e.shortened || remainingSeconds != 0
	return e.Lease, true
}

// check is when an entry needs a checkpoint, or somewhat earlier.
type check struct {
	at    time.Time
	entry *entry
}

// checks is a heap, the earliest first.
type checks []check

func (c checks) Len() int           { return len(c) }
func (c checks) Less(i, j int) bool { return c[i].at.Before(c[j].at) }
func (c checks) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *checks) Push(x any)        { *c = append(*c, x.(check)) }

func (c *checks) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	(*c)[last] = check{}
	*c = (*c)[:last]
	return x
}
