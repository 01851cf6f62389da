// Package lease keeps the leases of the store: the replicated set of them with
// the keys attached to each, and beside it the deadlines that the leader, and
// only the leader, holds every lease to. It has no clock: time is an argument.
//
// Leases, attachments and checkpoints change by replicated commands alone and are
// the same on every member. Deadlines are volatile: a member that becomes leader
// gives every lease the time again that its last checkpoint says, or its whole
// TTL, so a lease may live longer than asked but never shorter.
package lease

import (
	"cmp"
	"container/heap"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

var (
	ErrExists      = errors.New("lease: exists")
	ErrNotFound    = errors.New("lease: not found")
	ErrNotPromoted = errors.New("lease: this member holds no deadlines")
)

// ID names a lease. Zero is no lease.
type ID int64

// Lease is what the log says of a lease.
type Lease struct {
	ID               ID
	TTLSeconds       int64
	RemainingSeconds int64 // at the last checkpoint; 0 where none counts
}

// Table is the set of leases. Its zero value is not ready: use NewTable. All
// methods may be called concurrently.
type Table struct {
	mu       sync.Mutex
	leases   map[ID]*entry
	keys     map[string]ID
	attached atomic.Int64 // len(keys), read without mu

	promoted bool
	queue    deadlines // of promoted tables only
	granted  []*entry  // granted since the last Due: their TTL has not begun
	checks   checks    // of promoted tables only
	proposed []*entry  // handed out by Checkpoints, until Checkpointed
}

// entry is one lease.
type entry struct {
	Lease
	keys map[string]struct{}

	state    state
	deadline time.Time
	position int // in the queue while state is waiting

	// Of promoted tables only, see checkpoint.go.
	checked   bool          // it stands in checks
	shortened bool          // the log says, or may come to say, that it has less than its TTL
	proposed  chan struct{} // closed by Checkpointed; nil while no checkpoint is being proposed
	proposals uint64        // counts the checkpoints handed out
}

// state says where an entry of a promoted table stands:
//
//	idle -> waiting     Promote; Due, for a lease granted since the call before; Renew
//	waiting -> due      Due, past the deadline
//	any -> idle         Demote
type state uint8

const (
	idle state = iota
	waiting
	due
)

// NewTable returns an empty table that holds no deadlines.
func NewTable() *Table {
	return &Table{leases: map[ID]*entry{}, keys: map[string]ID{}}
}

// Reset empties the table and fills it with other leases and attachments. What
// was promoted stays so; the TTL of every lease begins at the next Due.
func (t *Table) Reset(leases []Lease, keys map[string]ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leases, t.keys = make(map[ID]*entry, len(leases)), make(map[string]ID, len(keys))
	t.queue, t.granted, t.checks = nil, nil, nil
	for _, l := range leases {
		t.add(l)
	}
	for key, id := range keys {
		t.attach(id, key)
	}
	t.attached.Store(int64(len(t.keys)))
}

// Grant adds a lease, or returns ErrExists.
func (t *Table) Grant(id ID, ttlSeconds int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.leases[id] != nil {
		return ErrExists
	}
	t.add(Lease{ID: id, TTLSeconds: ttlSeconds})
	return nil
}

func (t *Table) add(l Lease) {
	e := &entry{Lease: l, shortened: l.RemainingSeconds != 0}
	t.leases[l.ID] = e
	if t.promoted {
		t.granted = append(t.granted, e)
	}
}

// Revoke removes a lease and returns the keys that were attached to it, sorted.
// ok is false if there is no such lease.
func (t *Table) Revoke(id ID) (keys []string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.leases[id]
	if e == nil {
		return nil, false
	}
	delete(t.leases, id)
	if e.state == waiting {
		heap.Remove(&t.queue, e.position)
	}
	for key := range e.keys {
		delete(t.keys, key)
	}
	t.attached.Store(int64(len(t.keys)))
	return slices.Sorted(maps.Keys(e.keys)), true
}

// Attach gives the key to the lease and takes it from the one it had. It returns
// ErrNotFound if there is no such lease.
func (t *Table) Attach(id ID, key []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.leases[id] == nil {
		return ErrNotFound
	}
	if old, ok := t.keys[string(key)]; ok && old == id {
		return nil
	}
	t.attach(id, string(key))
	t.attached.Store(int64(len(t.keys)))
	return nil
}

func (t *Table) attach(id ID, key string) {
	e := t.leases[id]
	if e == nil {
		return
	}
	t.detach(key)
	if e.keys == nil {
		e.keys = map[string]struct{}{}
	}
	e.keys[key] = struct{}{}
	t.keys[key] = id
}

// Detach takes the key from the lease it has, if any.
func (t *Table) Detach(key []byte) {
	if t.attached.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.keys[string(key)]; ok {
		t.detach(string(key))
		t.attached.Store(int64(len(t.keys)))
	}
}

func (t *Table) detach(key string) {
	if e := t.leases[t.keys[key]]; e != nil {
		delete(e.keys, key)
		delete(t.keys, key)
	}
}

// Of returns the lease the key is attached to, or 0.
func (t *Table) Of(key []byte) ID {
	if t.attached.Load() == 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.keys[string(key)]
}

// Lookup returns a lease.
func (t *Table) Lookup(id ID) (Lease, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.leases[id]; e != nil {
		return e.Lease, true
	}
	return Lease{}, false
}

// Keys returns the keys attached to the lease, sorted.
func (t *Table) Keys(id ID) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.leases[id]; e != nil {
		return slices.Sorted(maps.Keys(e.keys))
	}
	return nil
}

// List returns the leases there are, in rising order.
func (t *Table) List() []ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.SortedFunc(maps.Keys(t.leases), cmp.Compare[ID])
}
