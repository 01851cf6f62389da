package kvcore

import "math/rand/v2"

// intervals is a set of half-open ranges of keys that finds those which contain
// a key in time logarithmic in their number: a treap by start, in which each node
// knows the largest end below it (Cormen et al., "Interval trees"). Ranges with
// one start are told apart by an id. The zero intervals is empty.
type intervals[T any] struct {
	root *interval[T]
}

type interval[T any] struct {
	start, end  string // an empty end is no bound
	id          uint64
	value       T
	priority    uint64
	reach       string // the largest end of the subtree
	unbounded   bool   // some end of the subtree is no bound
	left, right *interval[T]
}

// insert adds a range.
func (s *intervals[T]) insert(start, end string, id uint64, value T) {
	n := &interval[T]{start: start, end: end, id: id, value: value, priority: rand.Uint64()}
	left, right := s.root.split(start, id)
	n.update()
	s.root = join(join(left, n), right)
}

// remove takes a range out.
func (s *intervals[T]) remove(start string, id uint64) {
	s.root = s.root.without(start, id)
}

// stab calls f for each range that contains the key.
func (s *intervals[T]) stab(key []byte, f func(T)) { s.root.stab(key, f) }

func (n *interval[T]) update() {
	n.reach, n.unbounded = n.end, n.end == ""
	for _, kid := range [...]*interval[T]{n.left, n.right} {
		if kid != nil {
			n.reach = max(n.reach, kid.reach)
			n.unbounded = n.unbounded || kid.unbounded
		}
	}
}

func (n *interval[T]) before(start string, id uint64) bool {
	return n.start < start || n.start == start && n.id < id
}

// split parts the subtree into ranges before the given one and the rest.
func (n *interval[T]) split(start string, id uint64) (left, right *interval[T]) {
	if n == nil {
		return nil, nil
	}
	if n.before(start, id) {
		n.right, right = n.right.split(start, id)
		n.update()
		return n, right
	}
	left, n.left = n.left.split(start, id)
	n.update()
	return left, n
}

// join makes one tree of two, everything in a before everything in b.
func join[T any](a, b *interval[T]) *interval[T] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		a.right = join(a.right, b)
		a.update()
		return a
	default:
		b.left = join(a, b.left)
		b.update()
		return b
	}
}

func (n *interval[T]) without(start string, id uint64) *interval[T] {
	switch {
	case n == nil:
		return nil
	case n.start == start && n.id == id:
		return join(n.left, n.right)
	case n.before(start, id):
		n.right = n.right.without(start, id)
	default:
		n.left = n.left.without(start, id)
	}
	n.update()
	return n
}

func (n *interval[T]) stab(key []byte, f func(T)) {
	if n == nil || !n.unbounded && n.reach <= string(key) {
		return
	}
	n.left.stab(key, f)
	if n.start > string(key) {
		return
	}
	if n.end == "" || string(key) < n.end {
		f(n.value)
	}
	n.right.stab(key, f)
}
