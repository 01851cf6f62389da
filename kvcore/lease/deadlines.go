package lease

import (
	"container/heap"
	"time"
)

// deadlines is a heap of the entries that wait, the earliest first.
type deadlines []*entry

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].deadline.Before(d[j].deadline) }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].position, d[j].position = i, j
}

func (d *deadlines) Push(x any) {
	e := x.(*entry)
	e.position = len(*d)
	*d = append(*d, e)
}

func (d *deadlines) Pop() any {
	last := len(*d) - 1
	e := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return e
}

// maxTTLSeconds keeps a TTL within what a Duration holds.
const maxTTLSeconds = 9_000_000_000

func (e *entry) ttl() time.Duration { return duration(e.TTLSeconds) }

// recorded is how long the lease lives under a leader that knows the log alone.
func (e *entry) recorded() time.Duration {
	if e.RemainingSeconds == 0 {
		return e.ttl()
	}
	return duration(e.RemainingSeconds)
}

func duration(seconds int64) time.Duration {
	return time.Duration(min(seconds, maxTTLSeconds)) * time.Second
}

// wait sets the deadline of an entry of a promoted table.
func (t *Table) wait(e *entry, deadline time.Time) {
	e.deadline = deadline
	t.check(e)
	if e.state == waiting {
		heap.Fix(&t.queue, e.position)
		return
	}
	e.state = waiting
	heap.Push(&t.queue, e)
}

// Promote makes this member the one that holds deadlines: every lease gets what
// its last checkpoint says, or its whole TTL, from now.
func (t *Table) Promote(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.demote()
	t.promoted = true
	t.queue = make(deadlines, 0, len(t.leases))
	for _, e := range t.leases {
		e.shortened = e.RemainingSeconds != 0
		t.wait(e, now.Add(e.recorded()))
	}
}

// Demote forgets all deadlines.
func (t *Table) Demote() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.demote()
}

func (t *Table) demote() {
	t.promoted = false
	t.queue, t.granted, t.checks = nil, nil, nil
	for _, e := range t.leases {
		e.state, e.checked = idle, false
	}
}

// Renew gives the lease its whole TTL from now, and returns that TTL. It
// returns ErrNotPromoted where this member holds no deadlines, ErrNotFound if
// there is no such lease or Due has handed it out. The renewal may be promised
// only if the lease is not Shortened then.
func (t *Table) Renew(id ID, now time.Time) (ttlSeconds int64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.promotedEntry(id)
	if err != nil {
		return 0, err
	}
	if e.state == due {
		return 0, ErrNotFound
	}
	t.wait(e, now.Add(e.ttl()))
	return e.TTLSeconds, nil
}

// Remaining returns how long the lease has to live, 0 if Due has handed it out.
// Its errors are those of Renew.
func (t *Table) Remaining(id ID, now time.Time) (time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.promotedEntry(id)
	if err != nil {
		return 0, err
	}
	switch e.state {
	case idle:
		return e.recorded(), nil
	case due:
		return 0, nil
	}
	return max(0, e.deadline.Sub(now)), nil
}

func (t *Table) promotedEntry(id ID) (*entry, error) {
	if !t.promoted {
		return nil, ErrNotPromoted
	}
	if e := t.leases[id]; e != nil {
		return e, nil
	}
	return nil, ErrNotFound
}

// Due returns up to max leases whose deadline has come, the earliest first. Each
// is handed out once in a member's term as leader. The TTL of leases granted since the last call
// begins at now.
func (t *Table) Due(now time.Time, max int) []ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.granted {
		if e.state == idle && t.leases[e.ID] == e {
			t.wait(e, now.Add(e.recorded()))
		}
	}
	t.granted = nil
	var ids []ID
	for len(ids) < max && len(t.queue) > 0 && !now.Before(t.queue[0].deadline) {
		e := heap.Pop(&t.queue).(*entry)
		e.state = due
		ids = append(ids, e.ID)
	}
	return ids
}

// NextDeadline returns when to call Due next, false if no lease waits. It is
// the zero time, long past, where a lease was granted since the last Due.
func (t *Table) NextDeadline() (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.granted) > 0 {
		return time.Time{}, true
	}
	if len(t.queue) == 0 {
		return time.Time{}, false
	}
	return t.queue[0].deadline, true
}
