package index

// Compact forgets the revisions that no reader at or after main revision rev
// can see. Of each key that has a revision at or before rev it keeps the
// newest such one, unless that is a tombstone, and everything above rev.
//
// It works in pieces: it looks at no more than limit keys, at least 1, from
// `from` on (nil is the first key), skipping those that have one revision
// only, and returns the key to go on from, nil when done. It calls drop for
// each forgotten revision, tombstones too; those of one key come oldest first.
func (t *Tree) Compact(rev int64, from []byte, limit int, drop func(Revision)) (next []byte) {
	var after []byte
	for range limit {
		it := t.root.nextStale(from)
		if it == nil {
			return nil
		}
		key := it.bytes()
		t.compactKey(it, rev, drop)
		after = append(append(after[:0], key...), 0) // the next possible key
		from = after
	}
	if t.root.nextStale(from) == nil {
		return nil
	}
	return from
}

// compactKey compacts one key, given its slot, which snapshots may share.
func (t *Tree) compactKey(it *item, rev int64, drop func(Revision)) {
	after := *it
	left := after.compact(rev, drop)
	if left && after.past == it.past {
		return
	}
	slot := t.locate(it.bytes())
	before := slot.summary()
	if !left {
		*slot = item{}
		t.settle(before, summary{})
		t.removeLocated()
		return
	}
	*slot = after
	t.settle(before, after.summary())
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
