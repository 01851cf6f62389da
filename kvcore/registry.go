package kvcore

import (
	"sync"
	"sync/atomic"
)

// registry knows which cursors a change of a key concerns.
type registry struct {
	count atomic.Int64 // of cursors, read without mu

	mu     sync.Mutex
	keys   map[string]map[*Cursor]struct{} // of cursors on one key
	ranges intervals[*Cursor]
	all    map[*Cursor]struct{}
	lastID uint64
}

func (g *registry) add(c *Cursor) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all, g.keys = map[*Cursor]struct{}{}, map[string]map[*Cursor]struct{}{}
	}
	g.lastID++
	c.id = g.lastID
	g.all[c] = struct{}{}
	g.count.Store(int64(len(g.all)))
	if !c.single {
		g.ranges.insert(c.key, c.end, c.id, c)
		return
	}
	if g.keys[c.key] == nil {
		g.keys[c.key] = map[*Cursor]struct{}{}
	}
	g.keys[c.key][c] = struct{}{}
}

func (g *registry) remove(c *Cursor) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.all[c]; !ok {
		return
	}
	delete(g.all, c)
	g.count.Store(int64(len(g.all)))
	if !c.single {
		g.ranges.remove(c.key, c.id)
		return
	}
	delete(g.keys[c.key], c)
	if len(g.keys[c.key]) == 0 {
		delete(g.keys, c.key)
	}
}

// wake marks the cursors that entries [first, t.next) concern and returns those
// that were caught up.
func (g *registry) wake(t *tail, first uint64) (woken []*Cursor) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := first; i < t.next; i++ {
		e := t.at(i)
		mark := func(c *Cursor) {
			if c.wants(e.tombstone) && c.mark(e.rev.Main) {
				woken = append(woken, c)
			}
		}
		for c := range g.keys[string(e.key)] {
			mark(c)
		}
		g.ranges.stab(e.key, mark)
	}
	return woken
}

// wakeAll makes every cursor that is caught up look at everything from rev on.
func (g *registry) wakeAll(rev int64) {
	g.mu.Lock()
	var woken []*Cursor
	for c := range g.all {
		if c.mark(max(rev, c.start)) {
			woken = append(woken, c)
		}
	}
	g.mu.Unlock()
	for _, c := range woken {
		c.ready()
	}
}

// notify tells cursors of the entries from first on, once those are published,
// so that a cursor which finds nothing new and falls asleep just then is told.
func (s *Store) notify(t *tail, first uint64) {
	var woken []*Cursor
	if s.watchers.count.Load() > 0 && first < t.next {
		woken = s.watchers.wake(t, first)
	}
	if first < t.next {
		s.notified.Store(t.at(t.next - 1).rev.Main)
	}
	for _, c := range woken {
		c.ready()
	}
}
