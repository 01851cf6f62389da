package index

import "slices"

// Compact forgets the revisions that no reader at or after main revision rev
// can see. Of each key that has a revision at or before rev it keeps the
// newest such one, unless that is a tombstone, and everything above rev.
//
// It works in pieces: from the key `from` on (nil is the first), it looks at no
// more than limit keys, at least 1, skipping those that have one revision only,
// forgets no more than limit revisions, and returns the key to go on from, nil
// when done. It calls drop for each forgotten revision, tombstones too; those of
// one key come oldest first.
func (t *Tree) Compact(rev int64, from []byte, limit int, drop func(rev Revision, tombstone bool)) (next []byte) {
	var after []byte
	for left := limit; left > 0; {
		it := t.root.nextStale(from)
		if it == nil {
			return nil
		}
		key := it.bytes()
		dropped, done := t.compactKey(it, rev, left, drop)
		if !done {
			return key
		}
		left -= max(dropped, 1)
		after = append(append(after[:0], key...), 0) // the next possible key
		from = after
	}
	if t.root.nextStale(from) == nil {
		return nil
	}
	return from
}

// compactKey compacts one key, given its slot, which snapshots may share. It
// forgets no more than limit revisions and reports whether that was enough.
func (t *Tree) compactKey(it *item, rev int64, limit int, drop func(Revision, bool)) (dropped int, done bool) {
	obsolete := it.obsolete(rev)
	if obsolete == 0 {
		return 0, true
	}
	dropped, done = min(obsolete, limit), obsolete <= limit
	after := *it
	after.forget(dropped, drop)
	if done && after.past != nil {
		// The array is as long as the history was.
		after.past.changes = slices.Clone(after.past.changes)
	}
	slot := t.locate(it.bytes())
	before := slot.summary()
	*slot = after
	t.settle(before, after.summary())
	if after.fresh() {
		t.removeLocated()
	}
	return dropped, done
}

// nextStale returns the first key at or after from that a compaction might
// forget something of, nil if there is none. It is read only.
func (n *node) nextStale(from []byte) *item {
	first, last := n.slots(bounds{from: from, hasFrom: from != nil})
	if n.leaf() {
		for i := first; i < last; i++ {
			if it := &n.items[i]; it.summary().stale > 0 {
				return it
			}
		}
		return nil
	}
	for i := first; i < last; i++ {
		if n.kids[i].stale == 0 {
			continue
		}
		if it := n.kids[i].node.nextStale(from); it != nil {
			return it
		}
	}
	return nil
}
