package index

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// queue returns a tree with a queue of n keys, in which names say nothing about
// order, or rise with it, among as many other keys.
func queue(n int, ordered bool) *Tree {
	tree, rng := New(), rand.New(rand.NewPCG(1, 1))
	rev := int64(1)
	put := func(key string) {
		rev++
		tree.Put([]byte(key), Revision{rev, 0})
	}
	for i := range n {
		var id [16]byte
		for j := range id {
			id[j] = byte(rng.Uint32())
		}
		if ordered {
			id[0], id[1], id[2], id[3] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
		}
		put(fmt.Sprintf("/locks/a/q/%x", i))
		put("/locks/b/q/" + hex.EncodeToString(id[:]))
		if i%2 == 0 {
			put(fmt.Sprintf("/locks/c/q/%x", i))
		}
	}
	return tree
}

var queueStart, queueEnd = []byte("/locks/b/q/"), []byte("/locks/b/q0")

// BenchmarkQueue is what waiters ask: who is first, who is last, and who is the
// last before one that leads the queue, or stands in the middle of it.
func BenchmarkQueue(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000, 100_000} {
		for _, ordered := range []bool{false, true} {
			tree := queue(n, ordered)
			s := tree.Snapshot()
			first, _ := s.Extreme(queueStart, queueEnd, ExtremeQuery{})
			for _, q := range []struct {
				name  string
				query ExtremeQuery
			}{
				{"first", ExtremeQuery{}},
				{"last", ExtremeQuery{Largest: true}},
				{"before-first", ExtremeQuery{Largest: true, MaxCreate: first.Created.Main - 1}},
				{"before-middle", ExtremeQuery{Largest: true, MaxCreate: s.newest / 2}},
			} {
				b.Run(fmt.Sprintf("%s/ordered=%t/n=%d", q.name, ordered, n), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						s.Extreme(queueStart, queueEnd, q.query)
					}
				})
			}
		}
	}
}

// The questions of waiters read a bounded number of nodes a level, however long
// the queue is: the range is never walked. What parts a queue in the middle is
// cheap where names rise with revisions alone.
func TestQueueIsNotWalked(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		for _, n := range []int{10, 1000, 50_000} {
			tree := queue(n, ordered)
			s := tree.Snapshot()
			levels := depth(s.root)
			first, _ := s.Extreme(queueStart, queueEnd, ExtremeQuery{})
			last, _ := s.Extreme(queueStart, queueEnd, ExtremeQuery{Largest: true})
			middle := (first.Created.Main + last.Created.Main) / 2
			for _, c := range []struct {
				name  string
				query ExtremeQuery
				want  int64
				names bool // cheap only where names are ordered
			}{
				{"first", ExtremeQuery{}, first.Created.Main, false},
				{"last", ExtremeQuery{Largest: true}, last.Created.Main, false},
				{"modified first", ExtremeQuery{By: ByModify}, first.Created.Main, false},
				{"before the first", ExtremeQuery{Largest: true, MaxCreate: first.Created.Main - 1}, 0, false},
				{"after the last", ExtremeQuery{MinCreate: last.Created.Main + 1}, 0, false},
				{"bounds around all", ExtremeQuery{MinCreate: first.Created.Main, MaxCreate: last.Created.Main}, first.Created.Main, false},
				{"before the last", ExtremeQuery{Largest: true, MaxCreate: last.Created.Main - 1}, -1, false},
				{"before the middle", ExtremeQuery{Largest: true, MaxCreate: middle}, -1, true},
				{"after the middle", ExtremeQuery{MinCreate: middle}, -1, true},
			} {
				e := s.search(queueStart, queueEnd, extreme{query: c.query})
				got := int64(0)
				if e.best != nil {
					got = e.best.created.Main
				}
				if c.want == -1 {
					c.want = slowest(s, c.query)
				}
				if got != c.want {
					t.Errorf("%s of %d, ordered %t: created at %d, want %d", c.name, n, ordered, got, c.want)
				}
				if bound := 6 * levels; e.nodes > bound && (ordered || !c.names) {
					t.Errorf("%s of %d, ordered %t: read %d nodes, at most %d of a tree of %d levels", c.name, n, ordered, e.nodes, bound, levels)
				}
			}
		}
	}
}

// slowest answers a query about the queue by a walk.
func slowest(s Snapshot, q ExtremeQuery) (created int64) {
	s.Ascend(queueStart, queueEnd, s.newest, func(k Key) bool {
		c := k.Created.Main
		if q.admits(c, c, c, c) && (created == 0 || q.Largest == (c > created)) {
			created = c
		}
		return true
	})
	return created
}

func depth(n *node) int {
	if n.leaf() {
		return 1
	}
	return 1 + depth(n.kids[0].node)
}

// Whether there is any key within bounds that part a queue is known by its first few.
func TestAnyStopsAtTheFirst(t *testing.T) {
	s := queue(50_000, false).Snapshot()
	e := s.search(queueStart, queueEnd, extreme{query: ExtremeQuery{MaxCreate: s.newest / 2}, any: true})
	if e.best == nil || e.nodes > depth(s.root) {
		t.Errorf("found %v, having read %d nodes", e.best, e.nodes)
	}
	if !s.Any(queueStart, queueEnd, ExtremeQuery{MaxCreate: s.newest / 2}) || s.Any(queueStart, queueEnd, ExtremeQuery{MaxCreate: 1}) {
		t.Error("Any is wrong")
	}
}

// Counting a range reads its borders alone: the test cuts everything within off.
func TestCountReadsTheBorders(t *testing.T) {
	const n = 50_000
	s := queue(n, false).Snapshot()
	cut := 0
	s.root = without(s.root, string(queueStart), string(queueEnd), &cut)
	if got := s.Count(queueStart, queueEnd, s.newest); got != n || cut == 0 {
		t.Errorf("counted %d of %d, %d nodes cut off", got, n, cut)
	}
}

// without returns a copy of the tree whose nodes strictly within the range are gone.
func without(n *node, from, to string, cut *int) *node {
	c := n.clone(n.epoch)
	for i := range c.kids {
		if kid := &c.kids[i]; i > 0 && kid.low > from && i+1 < len(c.kids) && c.kids[i+1].low < to {
			kid.node = nil
			*cut++
		} else {
			kid.node = without(kid.node, from, to, cut)
		}
	}
	return c
}

// History agrees with what Get says of each revision.
func TestHistory(t *testing.T) {
	tree, rng := New(), rand.New(rand.NewPCG(1, 2))
	const revisions = 200
	type step struct {
		rev       Revision
		tombstone bool
	}
	var all []step
	live := false
	for main := int64(2); main <= revisions; main++ {
		switch rng.IntN(4) {
		case 0:
			tree.Put([]byte("k"), Revision{main, 0})
			all, live = append(all, step{Revision{main, 0}, false}), true
		case 1:
			if live {
				tree.Delete([]byte("k"), Revision{main, 0})
				all, live = append(all, step{Revision{main, 0}, true}), false
			}
		default:
			tree.Put([]byte("other"), Revision{main, 0})
		}
	}
	s := tree.Snapshot()
	for from := int64(0); from <= revisions+1; from++ {
		want := slices.DeleteFunc(slices.Clone(all), func(s step) bool { return s.rev.Main < from })
		var got []step
		s.History([]byte("k"), from, func(rev Revision, tombstone bool) bool {
			got = append(got, step{rev, tombstone})
			return true
		})
		if !slices.Equal(got, want) {
			t.Fatalf("from %d: %v, want %v", from, got, want)
		}
	}
	s.History([]byte("none"), 0, func(Revision, bool) bool { t.Error("a change of a key that is not there"); return true })
}
