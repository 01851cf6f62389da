package index

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is the naive index: every revision ever, searched from the start.
type model struct {
	log       []entry
	compacted int64
}

type entry struct {
	key       string
	rev       Revision
	created   Revision
	version   int64 // 0: tombstone
	forgotten bool
}

// at returns the state of all live keys at main revision rev, in key order.
func (m *model) at(rev int64) []Key {
	newest := map[string]entry{}
	for _, e := range m.log {
		if e.rev.Main <= rev && !e.forgotten {
			newest[e.key] = e
		}
	}
	var keys []Key
	for key, e := range newest {
		if e.version > 0 {
			keys = append(keys, Key{Key: []byte(key), Created: e.created, Modified: e.rev, Version: e.version})
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Compare(string(a.Key), string(b.Key)) })
	return keys
}

func (m *model) last(key string) (entry, bool) {
	for _, e := range slices.Backward(m.log) {
		if e.key == key {
			return e, !e.forgotten && e.version > 0
		}
	}
	return entry{}, false
}

func (m *model) put(key string, rev Revision) Key {
	e := entry{key: key, rev: rev, created: rev, version: 1}
	if old, live := m.last(key); live {
		e.created, e.version = old.created, old.version+1
	}
	m.log = append(m.log, e)
	return Key{Key: []byte(key), Created: e.created, Modified: rev, Version: e.version}
}

func (m *model) delete(key string, rev Revision) bool {
	_, live := m.last(key)
	if live {
		m.log = append(m.log, entry{key: key, rev: rev})
	}
	return live
}

// compact marks what compacting to rev forgets and returns it, per key oldest
// first.
func (m *model) compact(rev int64) map[string][]Revision {
	dropped := map[string][]Revision{}
	for i := range m.log {
		e := &m.log[i]
		if e.forgotten || e.rev.Main > rev {
			continue
		}
		superseded := slices.ContainsFunc(m.log[i+1:], func(o entry) bool { return o.key == e.key && o.rev.Main <= rev })
		if superseded || e.version == 0 {
			e.forgotten = true
			dropped[e.key] = append(dropped[e.key], e.rev)
		}
	}
	m.compacted = max(m.compacted, rev)
	return dropped
}

func (m *model) clone() *model {
	return &model{log: slices.Clone(m.log), compacted: m.compacted}
}

// rangeOf filters keys by the range as the API defines it.
func rangeOf(keys []Key, key, end []byte) []Key {
	var in []Key
	for _, k := range keys {
		s := string(k.Key)
		switch {
		case len(end) == 0:
			if s == string(key) {
				in = append(in, k)
			}
		case s >= string(key) && (string(end) == "\x00" || s < string(end)):
			in = append(in, k)
		}
	}
	return in
}

// extremeOf finds what Extreme shall find.
func extremeOf(keys []Key, q ExtremeQuery) (Key, bool) {
	var best Key
	found := false
	field := func(k Key) int64 {
		if q.By == ByCreate {
			return k.Created.Main
		}
		return k.Modified.Main
	}
	for _, k := range keys {
		if k.Created.Main < q.MinCreate || k.Modified.Main < q.MinModify ||
			q.MaxCreate > 0 && k.Created.Main > q.MaxCreate || q.MaxModify > 0 && k.Modified.Main > q.MaxModify {
			continue
		}
		if !found || !q.Largest && field(k) < field(best) || q.Largest && field(k) > field(best) {
			best, found = k, true
		}
	}
	return best, found
}

func sameKey(a, b Key) bool {
	return string(a.Key) == string(b.Key) && a.Created == b.Created && a.Modified == b.Modified && a.Version == b.Version
}

// differ compares everything a snapshot answers at main revision at with the
// model. extremes says whether at is the snapshot's newest revision.
func differ(s Snapshot, m *model, rng *rand.Rand, at int64, extremes bool) error {
	all := m.at(at)
	if extremes && s.Len() != int64(len(all)) {
		return fmt.Errorf("Len() = %d, want %d", s.Len(), len(all))
	}
	ranges := [][2][]byte{{{0}, {0}}, {nil, {0}}}
	for range 6 {
		ranges = append(ranges, [2][]byte{[]byte(someKey(rng)), []byte(someKey(rng))}, [2][]byte{[]byte(someKey(rng)), nil})
	}
	for _, r := range ranges {
		want := rangeOf(all, r[0], r[1])
		var got []Key
		s.Ascend(r[0], r[1], at, func(k Key) bool { got = append(got, k); return true })
		if !slices.EqualFunc(got, want, sameKey) {
			return fmt.Errorf("Ascend(%q, %q, %d) = %v, want %v", r[0], r[1], at, got, want)
		}
		if n := s.Count(r[0], r[1], at); n != int64(len(want)) {
			return fmt.Errorf("Count(%q, %q, %d) = %d, want %d", r[0], r[1], at, n, len(want))
		}
		if !extremes {
			continue
		}
		q := someQuery(rng, at)
		wantKey, wantOK := extremeOf(want, q)
		if k, ok := s.Extreme(r[0], r[1], q); ok != wantOK || ok && !sameKey(k, wantKey) {
			return fmt.Errorf("Extreme(%q, %q, %+v) = %v %v, want %v %v", r[0], r[1], q, k, ok, wantKey, wantOK)
		}
	}
	for range 4 {
		key := someKey(rng)
		want := rangeOf(all, []byte(key), nil)
		if k, ok := s.Get([]byte(key), at); ok != (len(want) == 1) || ok && !sameKey(k, want[0]) {
			return fmt.Errorf("Get(%q, %d) = %v %v, want %v", key, at, k, ok, want)
		}
	}
	return nil
}

func someKey(rng *rand.Rand) string {
	n := rng.IntN(300)
	return []string{fmt.Sprintf("%d", n), fmt.Sprintf("key/%03d", n), fmt.Sprintf("key/%03d/", n)}[n%3]
}

func someQuery(rng *rand.Rand, newest int64) ExtremeQuery {
	q := ExtremeQuery{By: Field(rng.IntN(2)), Largest: rng.IntN(2) == 0}
	for _, bound := range []*int64{&q.MinCreate, &q.MaxCreate, &q.MinModify, &q.MaxModify} {
		if rng.IntN(4) == 0 {
			*bound = rng.Int64N(newest + 2)
		}
	}
	return q
}

// verify checks the invariants of the tree's shape.
func verify(t *testing.T, tree *Tree) {
	t.Helper()
	var previous string
	depth := -1
	var visit func(n *node, level int, low string) summary
	visit = func(n *node, level int, low string) summary {
		if n.size() > fanOut || n.size() == 0 && level > 0 {
			t.Fatalf("node with %d slots at level %d", n.size(), level)
		}
		if n.leaf() {
			if depth < 0 {
				depth = level
			}
			if depth != level {
				t.Fatalf("leaves at levels %d and %d", depth, level)
			}
			for i, it := range n.items {
				if it.key < low || it.key <= previous && previous != "" {
					t.Fatalf("item %d: %q after %q in a node from %q", i, it.key, previous, low)
				}
				previous = it.key
			}
			return n.summarize()
		}
		for i, k := range n.kids {
			if i > 0 {
				low = k.low
			}
			if got := visit(k.node, level+1, low); got != k.summary {
				t.Fatalf("slot %d at level %d: summary %+v, should be %+v", i, level, k.summary, got)
			}
		}
		return n.summarize()
	}
	if got := visit(tree.root, 0, ""); got != tree.total {
		t.Fatalf("total %+v, should be %+v", tree.total, got)
	}
}
