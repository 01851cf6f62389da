package index

import (
	"sort"
	"unsafe"
)

// item is a key with its newest state, kept inline in the leaf: a key that
// was written once needs nothing else. A deleted key stays, with version 0
// and the revision of its tombstone, until a compaction forgets it.
type item struct {
	key      string
	created  Revision
	modified Revision
	version  int64
	past     *past // what came before; nil if nothing did
}

// past holds the revisions of a key before its newest, oldest first. It never
// changes once a snapshot may see it. Growing it shares the array: the writer
// appends beyond what any reader's slice covers.
type past struct {
	created Revision // of the generation that changes[0] belongs to
	changes []change
}

// change is a put, with the version it made, or a tombstone, with version 0.
type change struct {
	at      Revision
	version int64
}

func (it *item) live() bool { return it.version != 0 }

// fresh reports whether the slot has no revision yet.
func (it *item) fresh() bool { return it.modified.IsZero() }

func (it *item) state() Key {
	return Key{Key: it.bytes(), Created: it.created, Modified: it.modified, Version: it.version}
}

// bytes views the key without a copy; nobody may write to it.
func (it *item) bytes() []byte {
	return unsafe.Slice(unsafe.StringData(it.key), len(it.key))
}

func (it *item) summary() summary {
	var s summary
	if it.past != nil || !it.live() && !it.fresh() {
		s.stale = 1
	}
	if it.live() {
		s.live = 1
		s.minCreate, s.maxCreate = it.created.Main, it.created.Main
		s.minModify, s.maxModify = it.modified.Main, it.modified.Main
	}
	return s
}

// change makes a put the newest state.
func (it *item) change(rev Revision) {
	if it.live() {
		it.restore(rev, it.created, it.version+1)
	} else {
		it.restore(rev, rev, 1)
	}
}

// restore makes a put with known creation and version the newest state.
func (it *item) restore(rev, created Revision, version int64) {
	it.shelve()
	it.modified, it.created, it.version = rev, created, version
}

// bury makes a tombstone the newest state.
func (it *item) bury(rev Revision) {
	it.shelve()
	it.modified, it.created, it.version = rev, Revision{}, 0
}

// shelve moves the newest state to the past.
func (it *item) shelve() {
	if it.fresh() {
		return
	}
	p := &past{created: it.created}
	if it.past != nil {
		*p = *it.past
	}
	p.changes = append(p.changes, change{it.modified, it.version})
	it.past = p
}

// at returns the state of the key at main revision rev, if it was live then.
func (it *item) at(rev int64) (Key, bool) {
	if it.modified.Main <= rev {
		return it.state(), it.live()
	}
	if it.past == nil {
		return Key{}, false
	}
	i := it.past.newest(rev)
	if i < 0 || it.past.changes[i].version == 0 {
		return Key{}, false
	}
	c := it.past.changes[i]
	return Key{Key: it.bytes(), Created: it.past.createdAt(i), Modified: c.at, Version: c.version}, true
}

// history is Snapshot.History.
func (it *item) history(from int64, f func(rev Revision, tombstone bool) bool) {
	if it.modified.Main < from {
		return
	}
	if it.past != nil {
		for _, c := range it.past.changes[it.past.newest(from-1)+1:] {
			if !f(c.at, c.version == 0) {
				return
			}
		}
	}
	f(it.modified, !it.live())
}

// newest returns the index of the last change at or before main revision
// rev, -1 if there is none.
func (p *past) newest(rev int64) int {
	return sort.Search(len(p.changes), func(i int) bool { return p.changes[i].at.Main > rev }) - 1
}

// createdAt returns the creation revision of the put at index i. Versions
// count up within a generation, so its first change, unless forgotten, stands
// version-1 places before.
func (p *past) createdAt(i int) Revision {
	if ago := p.changes[i].version - 1; 0 <= ago && ago <= int64(i) {
		return p.changes[int64(i)-ago].at
	}
	return p.created
}

// obsolete returns how many of the oldest revisions no reader at or after main
// revision rev can see: all before the newest change at or before rev, and that
// too if it is a tombstone.
func (it *item) obsolete(rev int64) int {
	before := it.past.size()
	if it.modified.Main <= rev {
		if it.live() {
			return before
		}
		return before + 1
	}
	if before == 0 {
		return 0
	}
	i := it.past.newest(rev)
	if i >= 0 && it.past.changes[i].version == 0 {
		i++
	}
	return max(i, 0)
}

// forget drops the oldest n revisions. If none is left the item is fresh again.
func (it *item) forget(n int, drop func(rev Revision, tombstone bool)) {
	before := it.past.size()
	for i := range min(n, before) {
		c := it.past.changes[i]
		drop(c.at, c.version == 0)
	}
	switch {
	case n > before:
		drop(it.modified, !it.live())
		*it = item{key: it.key}
	case n == before:
		it.past = nil
	default:
		it.past = &past{created: it.past.createdAt(n), changes: it.past.changes[n:]}
	}
}

func (p *past) size() int {
	if p == nil {
		return 0
	}
	return len(p.changes)
}
