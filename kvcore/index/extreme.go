package index

import (
	"fmt"
	"slices"
)

// Field is a revision of a key to order by.
type Field uint8

// The fields of ExtremeQuery.By.
const (
	ByCreate Field = iota
	ByModify
)

// ExtremeQuery asks for the key with the smallest, or largest, main revision
// in a field. The bounds are inclusive main revisions; 0 means no bound.
type ExtremeQuery struct {
	By      Field
	Largest bool

	MinCreate, MaxCreate int64
	MinModify, MaxModify int64
}

// Extreme returns the live key of [key, end), as Ascend takes them, that the
// query asks for; of several with the same main revision the first in key
// order. It looks at the newest revision only.
//
// This is branch and bound over the aggregates. Without revision bounds a few
// paths from the root are read, and so they are with bounds that all keys of the
// range satisfy, or none. Bounds that part the range cost as many nodes as hold
// keys of both parts: few where names rise with revisions, most of the range where
// they say nothing about them.
func (s Snapshot) Extreme(key, end []byte, q ExtremeQuery) (Key, bool) {
	if q.By > ByModify {
		panic(fmt.Sprintf("index: extreme by unknown field %d", q.By))
	}
	if len(end) == 0 {
		k, ok := s.Get(key, s.newest)
		return k, ok && q.admits(k.Created.Main, k.Created.Main, k.Modified.Main, k.Modified.Main)
	}
	e := s.search(key, end, extreme{query: q})
	if e.best == nil {
		return Key{}, false
	}
	return e.best.state(), true
}

// Any reports whether a live key of [key, end) is within the query's bounds.
func (s Snapshot) Any(key, end []byte, q ExtremeQuery) bool {
	return s.search(key, end, extreme{query: q, any: true}).best != nil
}

func (s Snapshot) search(key, end []byte, e extreme) extreme {
	if s.root != nil {
		e.node(s.root, boundsOf(key, end))
	}
	return e
}

// admits reports whether a key with revisions in these intervals may satisfy
// the bounds.
func (q *ExtremeQuery) admits(minCreate, maxCreate, minModify, maxModify int64) bool {
	return maxCreate >= q.MinCreate && (q.MaxCreate == 0 || minCreate <= q.MaxCreate) &&
		maxModify >= q.MinModify && (q.MaxModify == 0 || minModify <= q.MaxModify)
}

// rank is what the query minimizes: the best any key in the summary may have.
func (q *ExtremeQuery) rank(s *summary) int64 {
	switch {
	case q.By == ByCreate && q.Largest:
		return -s.maxCreate
	case q.By == ByCreate:
		return s.minCreate
	case q.Largest:
		return -s.maxModify
	default:
		return s.minModify
	}
}

// extreme is a search under way.
type extreme struct {
	query ExtremeQuery
	any   bool // the first that is found will do
	best  *item
	rank  int64 // of best
	nodes int   // read so far: what the search costs
}

func (e *extreme) node(n *node, b bounds) {
	e.nodes++
	first, last := n.slots(b)
	if n.leaf() {
		for i := first; i < last; i++ {
			e.offer(&n.items[i])
		}
		return
	}
	// The most promising slots first, so that the others need not be read.
	var room [fanOut]candidate
	queue := room[:0]
	for i := first; i < last; i++ {
		s := &n.kids[i].summary
		if s.live > 0 && e.query.admits(s.minCreate, s.maxCreate, s.minModify, s.maxModify) {
			queue = append(queue, candidate{i, e.query.rank(s)})
		}
	}
	slices.SortStableFunc(queue, candidate.compare)
	for _, c := range queue {
		// A slot but the first tells where its keys start.
		if e.best != nil && (e.any || c.rank > e.rank ||
			c.rank == e.rank && c.slot > 0 && e.best.key < n.kids[c.slot].low) {
			continue
		}
		e.node(n.kids[c.slot].node, b.within(c.slot, first, last))
	}
}

// offer makes it the best key if it satisfies the query and none before did
// better.
func (e *extreme) offer(it *item) {
	s := it.summary()
	if s.live == 0 || !e.query.admits(s.minCreate, s.maxCreate, s.minModify, s.maxModify) {
		return
	}
	rank := e.query.rank(&s)
	if e.best == nil || rank < e.rank || rank == e.rank && it.key < e.best.key {
		e.best, e.rank = it, rank
	}
}

// candidate is a slot that may hold a better key.
type candidate struct {
	slot int
	rank int64
}

func (c candidate) compare(o candidate) int {
	switch {
	case c.rank < o.rank:
		return -1
	case c.rank > o.rank:
		return 1
	}
	return 0
}
