// Package index orders the keys of the store and knows, for each of them, the
// revisions that still matter.
//
// It is a B+ tree held in memory. Each inner slot carries aggregates over the
// live keys below it (how many there are, the smallest and largest revisions
// of their creation and modification), so that a count, or the key changed
// last, needs no walk. One goroutine writes. Readers take a Snapshot, which
// never changes: after a snapshot was taken the writer copies each node once
// before it touches it.
package index

import (
	"cmp"
	"fmt"
)

// Revision is a point in the store's history: Main counts transactions, Sub
// the changes within one, from 0.
type Revision struct{ Main, Sub int64 }

// Compare orders revisions in time: -1, 0 or +1.
func (r Revision) Compare(o Revision) int {
	return cmp.Or(cmp.Compare(r.Main, o.Main), cmp.Compare(r.Sub, o.Sub))
}

// IsZero reports whether r is no revision at all.
func (r Revision) IsZero() bool { return r == Revision{} }

// Key is a live key at some revision. The bytes belong to the index and must
// not be modified.
type Key struct {
	Key      []byte
	Created  Revision // when it last came into being
	Modified Revision // its newest change
	Version  int64    // changes since it was created, from 1
}

// Tree is the writer's handle. It is not safe for concurrent use; the
// snapshots it hands out are.
type Tree struct {
	root   *node
	total  summary
	newest Revision
	epoch  uint64 // nodes of an older epoch belong to snapshots too
	path   []step // from the root to the slot last located
	arena  arena
}

// step is one node on the way down, and the slot taken in it.
type step struct {
	node *node
	slot int
}

// New returns an empty tree.
func New() *Tree {
	return &Tree{root: &node{}}
}

// Snapshot returns the tree as it is now, in constant time.
func (t *Tree) Snapshot() Snapshot {
	t.epoch++
	return Snapshot{root: t.root, total: t.total, newest: t.newest.Main}
}

// Put records a change of key at rev, which must be above every revision
// recorded so far, and returns the key's state after it.
func (t *Tree) Put(key []byte, rev Revision) Key {
	t.advance(key, rev)
	it, isNew := t.locateOrInsert(key)
	if isNew {
		it.key = string(key)
	}
	before := it.summary()
	it.change(rev)
	t.settle(before, it.summary())
	return it.state()
}

// Delete records a tombstone of key at rev, which must be above every
// revision recorded so far. It returns false, and records nothing, if the key
// is not live.
func (t *Tree) Delete(key []byte, rev Revision) bool {
	if it := t.root.find(key); it == nil || !it.live() {
		return false
	}
	t.advance(key, rev)
	it := t.locate(key)
	before := it.summary()
	it.bury(rev)
	t.settle(before, it.summary())
	return true
}

// Restore records a change known from disk: a tombstone, or a put with the
// creation revision and version it had then. The revisions of a key must
// rise.
func (t *Tree) Restore(key []byte, rev, created Revision, version int64, tombstone bool) {
	if rev.Compare(t.newest) > 0 {
		t.newest = rev
	}
	it, isNew := t.locateOrInsert(key)
	if isNew {
		it.key = t.arena.intern(key)
	}
	before := it.summary()
	if tombstone {
		it.bury(rev)
	} else {
		it.restore(rev, created, version)
	}
	t.settle(before, it.summary())
}

func (t *Tree) advance(key []byte, rev Revision) {
	if rev.Compare(t.newest) <= 0 {
		panic(fmt.Sprintf("index: change of %q at %v, not above %v", key, rev, t.newest))
	}
	t.newest = rev
}

// own makes sure that no snapshot shares n: it returns n or a copy of it.
func (t *Tree) own(n *node) *node {
	if n.epoch == t.epoch {
		return n
	}
	return n.clone(t.epoch)
}

// locate returns the slot of a key that is in the tree, owned by the writer,
// and keeps the path to it for settle and remove.
func (t *Tree) locate(key []byte) *item {
	t.path = t.path[:0]
	t.root = t.own(t.root)
	n := t.root
	for !n.leaf() {
		i := n.child(key)
		t.path = append(t.path, step{n, i})
		kid := &n.kids[i]
		kid.node = t.own(kid.node)
		n = kid.node
	}
	i, ok := n.search(key)
	if !ok {
		panic(fmt.Sprintf("index: key %q vanished", key))
	}
	t.path = append(t.path, step{n, i})
	return &n.items[i]
}

// locateOrInsert is locate for a key that may be new; then its slot is empty.
// Full nodes are split on the way down, so that a parent always has room for
// the sibling of a child that splits.
func (t *Tree) locateOrInsert(key []byte) (it *item, isNew bool) {
	t.path = t.path[:0]
	t.root = t.own(t.root)
	if t.root.full() {
		t.root = &node{epoch: t.epoch, kids: []kid{{node: t.root, summary: t.total}}}
		t.root.split(0, key)
	}
	n := t.root
	for !n.leaf() {
		i := n.child(key)
		n.kids[i].node = t.own(n.kids[i].node)
		if n.kids[i].node.full() {
			n.split(i, key)
			i = n.child(key)
		}
		t.path = append(t.path, step{n, i})
		n = n.kids[i].node
	}
	i, ok := n.search(key)
	if !ok {
		n.items = insert(n.items, i, item{})
	}
	t.path = append(t.path, step{n, i})
	return &n.items[i], !ok
}
