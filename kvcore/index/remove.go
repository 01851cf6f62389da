package index

import "slices"

// removeLocated takes the slot last located, whose aggregates are settled,
// out of the tree. A node that has become small joins a sibling if both fit
// into one; it does not borrow slots, so that a node may stay small beside
// one that is almost full.
func (t *Tree) removeLocated() {
	leaf := t.path[len(t.path)-1]
	leaf.node.items = slices.Delete(leaf.node.items, leaf.slot, leaf.slot+1)
	for level := len(t.path) - 2; level >= 0; level-- {
		parent := t.path[level]
		if !t.shrink(parent.node, parent.slot) {
			break
		}
	}
	for !t.root.leaf() {
		switch len(t.root.kids) {
		case 0:
			t.root = &node{epoch: t.epoch}
		case 1:
			t.root = t.root.kids[0].node
		default:
			return
		}
	}
}

// shrink removes or merges the child in slot i of parent if it is small, and
// reports whether it did. The writer owns both.
func (t *Tree) shrink(parent *node, i int) bool {
	child := parent.kids[i].node
	switch {
	case child.size() == 0:
		parent.kids = slices.Delete(parent.kids, i, i+1)
		return true
	case child.size() >= fanOut/4:
		return false
	case i+1 < len(parent.kids) && child.size()+parent.kids[i+1].node.size() <= fanOut:
		t.join(parent, i)
		return true
	case i > 0 && child.size()+parent.kids[i-1].node.size() <= fanOut:
		t.join(parent, i-1)
		return true
	}
	return false
}

// join moves the slots of child i+1 to child i.
func (t *Tree) join(parent *node, i int) {
	left, right := &parent.kids[i], &parent.kids[i+1]
	left.node = t.own(left.node)
	left.node.merge(right.node, right.low)
	left.summary = left.summary.merge(right.summary)
	parent.kids = slices.Delete(parent.kids, i+1, i+2)
}
