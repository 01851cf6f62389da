package index

// Snapshot is the tree at one moment. It never changes and may be read by any
// number of goroutines. The zero Snapshot is that of an empty tree.
//
// Its methods take the main revision to look at, which must not be below a
// revision the tree was compacted to. A revision in the future of the
// snapshot shows its newest state.
type Snapshot struct {
	root   *node
	total  summary
	newest int64 // main revision of the last change
}

// Len returns the number of live keys.
func (s Snapshot) Len() int64 { return s.total.live }

// Get returns the state of key at main revision at, if it was live then.
func (s Snapshot) Get(key []byte, at int64) (Key, bool) {
	if s.root == nil {
		return Key{}, false
	}
	if it := s.root.find(key); it != nil {
		return it.at(at)
	}
	return Key{}, false
}

// History visits the changes of key that are known, from main revision from on,
// oldest first, until f returns false.
func (s Snapshot) History(key []byte, from int64, f func(rev Revision, tombstone bool) bool) {
	if s.root == nil {
		return
	}
	if it := s.root.find(key); it != nil {
		it.history(from, f)
	}
}

// Ascend visits the keys of [key, end) that were live at main revision at, in
// key order, until f returns false. An empty end means key alone, the end {0}
// everything from key on.
func (s Snapshot) Ascend(key, end []byte, at int64, f func(Key) bool) {
	if len(end) == 0 {
		if k, ok := s.Get(key, at); ok {
			f(k)
		}
		return
	}
	if s.root == nil {
		return
	}
	w := walk{at: at, current: at >= s.newest, visit: f}
	w.node(s.root, boundsOf(key, end))
}

// Count returns how many keys of [key, end), as Ascend takes them, were live
// at main revision at. It takes logarithmic time for the newest revision, and
// walks the range for older ones.
func (s Snapshot) Count(key, end []byte, at int64) int64 {
	if len(end) == 0 || at < s.newest {
		var count int64
		s.Ascend(key, end, at, func(Key) bool { count++; return true })
		return count
	}
	if s.root == nil {
		return 0
	}
	return s.root.count(boundsOf(key, end), s.total.live)
}

// bounds is a range of keys. Below the root a bound that all keys of a node
// satisfy is dropped.
type bounds struct {
	from, to []byte // [from, to)
	hasFrom  bool
	hasTo    bool
}

func boundsOf(key, end []byte) bounds {
	return bounds{
		from: key, hasFrom: len(key) > 0,
		to: end, hasTo: len(end) != 1 || end[0] != 0,
	}
}

func (b bounds) empty() bool {
	return b.hasFrom && b.hasTo && string(b.from) >= string(b.to)
}

// slots returns the slots [first, last) of n that may hold keys of the range.
func (n *node) slots(b bounds) (first, last int) {
	last = n.size()
	if b.empty() {
		return 0, 0
	}
	if n.leaf() {
		if b.hasFrom {
			first, _ = n.search(b.from)
		}
		if b.hasTo {
			last, _ = n.search(b.to)
		}
		return first, last
	}
	if b.hasFrom {
		first = n.child(b.from)
	}
	if b.hasTo {
		last = n.child(b.to) + 1
	}
	return first, last
}

// within returns what of b is left to check in slot i of [first, last).
func (b bounds) within(i, first, last int) bounds {
	b.hasFrom = b.hasFrom && i == first
	b.hasTo = b.hasTo && i == last-1
	return b
}

// count returns the number of live keys of the range; live is that of the
// whole node.
func (n *node) count(b bounds, live int64) int64 {
	if !b.hasFrom && !b.hasTo || live == 0 {
		return live
	}
	var count int64
	first, last := n.slots(b)
	if n.leaf() {
		for i := range n.items[first:last] {
			if n.items[first+i].live() {
				count++
			}
		}
		return count
	}
	for i := first; i < last; i++ {
		count += n.kids[i].node.count(b.within(i, first, last), n.kids[i].live)
	}
	return count
}

// walk visits live keys in order.
type walk struct {
	at      int64
	current bool // at is the newest revision: what is dead now stays unseen
	visit   func(Key) bool
}

// node visits the keys of the range below n. It returns false once visit did.
func (w *walk) node(n *node, b bounds) bool {
	first, last := n.slots(b)
	if n.leaf() {
		for i := first; i < last; i++ {
			if k, ok := n.items[i].at(w.at); ok && !w.visit(k) {
				return false
			}
		}
		return true
	}
	for i := first; i < last; i++ {
		if w.current && n.kids[i].live == 0 {
			continue
		}
		if !w.node(n.kids[i].node, b.within(i, first, last)) {
			return false
		}
	}
	return true
}
