package backend

import "bytes"

// treap is a sorted map from keys to values whose old states stay readable: a
// change copies the nodes on its path, save those already copied in the same
// epoch. Random priorities, heap-ordered, keep it balanced. The nil treap is
// empty.
//
// Seidel, Aragon: Randomized Search Trees, 1996.
type treap struct {
	epoch       uint64
	priority    uint64
	key, value  []byte
	left, right *treap
}

// get returns the value of key, nil if absent.
func (t *treap) get(key []byte) []byte {
	for t != nil {
		switch c := bytes.Compare(key, t.key); {
		case c < 0:
			t = t.left
		case c > 0:
			t = t.right
		default:
			return t.value
		}
	}
	return nil
}

// ascend visits [from, to) in order; a nil to is the end. It returns false
// once f did.
func (t *treap) ascend(from, to []byte, f func(k, v []byte) bool) bool {
	if t == nil {
		return true
	}
	aboveFrom := bytes.Compare(t.key, from) >= 0
	belowTo := to == nil || bytes.Compare(t.key, to) < 0
	if aboveFrom && !t.left.ascend(from, to, f) {
		return false
	}
	if aboveFrom && belowTo && !f(t.key, t.value) {
		return false
	}
	return !belowTo || t.right.ascend(from, to, f)
}

// own returns t, or a copy of it that epoch may change.
func (t *treap) own(epoch uint64) *treap {
	if t.epoch == epoch {
		return t
	}
	c := *t
	c.epoch = epoch
	return &c
}

// put returns the treap with key set to value. A new key takes the priority.
func (t *treap) put(epoch, priority uint64, key, value []byte) *treap {
	if t == nil {
		return &treap{epoch: epoch, priority: priority, key: bytes.Clone(key), value: value}
	}
	t = t.own(epoch)
	switch c := bytes.Compare(key, t.key); {
	case c < 0:
		t.left = t.left.put(epoch, priority, key, value)
		if l := t.left; l.priority > t.priority {
			t.left, l.right = l.right, t
			return l
		}
	case c > 0:
		t.right = t.right.put(epoch, priority, key, value)
		if r := t.right; r.priority > t.priority {
			t.right, r.left = r.left, t
			return r
		}
	default:
		t.value = value
	}
	return t
}

// remove returns the treap without key, which must be in it.
func (t *treap) remove(epoch uint64, key []byte) *treap {
	c := bytes.Compare(key, t.key)
	if c == 0 {
		return join(epoch, t.left, t.right)
	}
	t = t.own(epoch)
	if c < 0 {
		t.left = t.left.remove(epoch, key)
	} else {
		t.right = t.right.remove(epoch, key)
	}
	return t
}

// join returns the union of two treaps, all keys of left below those of right.
func join(epoch uint64, left, right *treap) *treap {
	switch {
	case left == nil:
		return right
	case right == nil:
		return left
	case left.priority > right.priority:
		left = left.own(epoch)
		left.right = join(epoch, left.right, right)
		return left
	default:
		right = right.own(epoch)
		right.left = join(epoch, left, right.left)
		return right
	}
}
