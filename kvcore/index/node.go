package index

import "slices"

// fanOut bounds the slots of a node. Larger nodes make a flatter tree, but
// each is copied when first touched after a snapshot.
const fanOut = 32

// node is a leaf with items or an inner node with kids.
type node struct {
	epoch uint64 // of the tree when this node was made
	items []item // leaf: in key order
	kids  []kid  // inner node: in key order
}

// kid is a slot of an inner node: all keys of node are at or above low, and
// below the low of the next slot. In the first slot of a node low may be too
// high: what sorts before it belongs there as well.
type kid struct {
	low  string
	node *node
	summary
}

func (n *node) leaf() bool { return n.kids == nil }
func (n *node) size() int  { return len(n.items) + len(n.kids) }
func (n *node) full() bool { return n.size() >= fanOut }

// clone copies a node for the writer.
func (n *node) clone(epoch uint64) *node {
	c := &node{epoch: epoch}
	if n.leaf() {
		c.items = fitted(n.items)
	} else {
		c.kids = fitted(n.kids)
	}
	return c
}

// search returns the slot of key in a leaf, or where it belongs.
func (n *node) search(key []byte) (slot int, ok bool) {
	lo, hi := 0, len(n.items)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.items[mid].key < string(key) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(n.items) && n.items[lo].key == string(key)
}

// child returns the slot of an inner node under which key belongs.
func (n *node) child(key []byte) int {
	lo, hi := 1, len(n.kids)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.kids[mid].low <= string(key) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// find returns the slot of key, nil if it is not in the tree. It may be
// shared: read only.
func (n *node) find(key []byte) *item {
	for !n.leaf() {
		n = n.kids[n.child(key)].node
	}
	if i, ok := n.search(key); ok {
		return &n.items[i]
	}
	return nil
}

// summarize computes the aggregates of the node from its slots.
func (n *node) summarize() summary {
	var s summary
	for i := range n.items {
		s = s.merge(n.items[i].summary())
	}
	for i := range n.kids {
		s = s.merge(n.kids[i].summary)
	}
	return s
}

// split moves the upper slots of the full child i, which the writer owns, to
// a new sibling. If key goes after all of them, as when keys rise, almost
// everything stays: such a tree fills its nodes.
func (n *node) split(i int, key []byte) {
	left := n.kids[i].node
	right := &node{epoch: left.epoch}
	at := left.size() / 2
	var low string
	if left.leaf() {
		if left.items[left.size()-1].key < string(key) {
			at = left.size() - 1
		}
		low = left.items[at].key
		left.items, right.items = fitted(left.items[:at]), fitted(left.items[at:])
	} else {
		if left.kids[left.size()-1].low <= string(key) {
			at = left.size() - 1
		}
		low = left.kids[at].low
		left.kids, right.kids = fitted(left.kids[:at]), fitted(left.kids[at:])
	}
	n.kids[i].summary = left.summarize()
	n.kids = insert(n.kids, i+1, kid{low: low, node: right, summary: right.summarize()})
}

// merge appends the slots of the sibling right, whose keys start at low, to
// n, which the writer owns.
func (n *node) merge(right *node, low string) {
	if n.leaf() {
		n.items = append(grown(n.items, len(right.items)), right.items...)
		return
	}
	at := len(n.kids)
	n.kids = append(grown(n.kids, len(right.kids)), right.kids...)
	n.kids[at].low = low // the first slot's own may be too high
}

// fitted returns a copy of s that has hardly more room than it needs: most
// nodes do not grow before they are copied again.
func fitted[S any](s []S) []S {
	return append(grown[S](nil, len(s)), s...)
}

// grown returns s with room for n more slots, and no more than a few beyond.
func grown[S any](s []S, n int) []S {
	const step = 4
	need := len(s) + n
	if need <= cap(s) {
		return s
	}
	return append(make([]S, 0, (need+step-1)/step*step), s...)
}

func insert[S any](s []S, i int, v S) []S {
	return slices.Insert(grown(s, 1), i, v)
}
