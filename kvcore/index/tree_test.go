package index

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
)

// TestRandomOperations holds the tree, and snapshots taken from it at random
// moments, against the naive model.
func TestRandomOperations(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			randomOperations(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

// moment is a snapshot and what it must go on showing.
type moment struct {
	snapshot Snapshot
	model    *model
	rev      int64
}

func (m moment) check(t *testing.T, rng *rand.Rand) {
	t.Helper()
	at := m.model.compacted + rng.Int64N(m.rev-m.model.compacted+1)
	if err := differ(m.snapshot, m.model, rng, at, false); err != nil {
		t.Fatalf("snapshot of revision %d, compacted at %d: %v", m.rev, m.model.compacted, err)
	}
	if err := differ(m.snapshot, m.model, rng, m.rev, true); err != nil {
		t.Fatalf("snapshot of revision %d: %v", m.rev, err)
	}
}

func randomOperations(t *testing.T, rng *rand.Rand) {
	tree, m := New(), &model{}
	var moments []moment
	deletes := rng.IntN(8) // of 10 changes
	main := int64(1)
	for range 600 {
		main++
		for sub := range int64(1 + rng.IntN(4)) {
			rev, key := Revision{main, sub}, someKey(rng)
			if rng.IntN(10) < deletes {
				if got, want := tree.Delete([]byte(key), rev), m.delete(key, rev); got != want {
					t.Fatalf("Delete(%q, %v) = %v, want %v", key, rev, got, want)
				}
			} else if got, want := tree.Put([]byte(key), rev), m.put(key, rev); !sameKey(got, want) {
				t.Fatalf("Put(%q, %v) = %v, want %v", key, rev, got, want)
			}
		}
		switch rng.IntN(40) {
		case 0:
			moments = append(moments, moment{tree.Snapshot(), m.clone(), main})
		case 1:
			compactBoth(t, tree, m, m.compacted+rng.Int64N(main-m.compacted+1), 1+rng.IntN(20))
		case 2:
			if len(moments) > 0 {
				moments[rng.IntN(len(moments))].check(t, rng)
			}
		}
	}
	verify(t, tree)
	for _, moment := range append(moments, moment{tree.Snapshot(), m, main}) {
		moment.check(t, rng)
	}
	for key := range 300 {
		main++
		for _, key := range []string{fmt.Sprintf("%d", key), fmt.Sprintf("key/%03d", key), fmt.Sprintf("key/%03d/", key)} {
			if m.delete(key, Revision{main, 0}) {
				tree.Delete([]byte(key), Revision{main, 0})
			}
		}
	}
	compactBoth(t, tree, m, main, 7)
	if tree.root.size() != 0 || tree.total != (summary{}) {
		t.Errorf("emptied tree has %d slots and summary %+v", tree.root.size(), tree.total)
	}
	for _, moment := range moments {
		moment.check(t, rng)
	}
}

func compactBoth(t *testing.T, tree *Tree, m *model, rev int64, limit int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(rev), uint64(limit)))
	owner := map[Revision]entry{}
	for _, e := range m.log {
		owner[e.rev] = e
	}
	want := m.compact(rev)
	got := map[string][]Revision{}
	var from []byte
	for {
		dropped := 0
		next := tree.Compact(rev, from, limit, func(r Revision, tombstone bool) {
			dropped++
			e := owner[r]
			if tombstone != (e.version == 0) {
				t.Errorf("Compact(%d) calls %v a tombstone: %v", rev, r, tombstone)
			}
			got[e.key] = append(got[e.key], r)
		})
		if dropped > limit {
			t.Fatalf("Compact(%d) dropped %d revisions, limit %d", rev, dropped, limit)
		}
		verify(t, tree)
		if err := differ(tree.Snapshot(), m, rng, rev, false); err != nil {
			t.Fatalf("within Compact(%d): %v", rev, err)
		}
		if next == nil {
			break
		}
		from = next
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("Compact(%d) dropped %v, want %v", rev, got, want)
	}
}

// TestDeepTree grows a tree of several levels and shrinks it to nothing, with
// snapshots in between, and looks up every key each time.
func TestDeepTree(t *testing.T) {
	const keys = 20000
	name := func(i int) []byte { return fmt.Appendf(nil, "%05d", i) }
	rng := rand.New(rand.NewPCG(3, 3))
	tree, main := New(), int64(1)
	present := make([]bool, keys)
	check := func(s Snapshot, present []bool, at int64) {
		t.Helper()
		live := int64(0)
		for i, want := range present {
			if _, ok := s.Get(name(i), at); ok != want {
				t.Fatalf("Get(%s) found it: %v, want %v", name(i), ok, want)
			}
			if want {
				live++
			}
		}
		if n := s.Count(nil, []byte{0}, at); n != live {
			t.Fatalf("Count = %d, want %d", n, live)
		}
		if n := s.Count(name(100), name(keys-100), at); n != s.Count(name(100), []byte{0}, at)-s.Count(name(keys-100), []byte{0}, at) {
			t.Fatalf("Count of the middle = %d does not add up", n)
		}
	}
	for _, i := range rng.Perm(keys) {
		main++
		tree.Put(name(i), Revision{main, 0})
		present[i] = true
	}
	verify(t, tree)
	order := rng.Perm(keys)
	for round := range 5 {
		before, was, at := tree.Snapshot(), slices.Clone(present), main
		for _, i := range order[round*keys/5 : (round+1)*keys/5] {
			main++
			tree.Delete(name(i), Revision{main, 0})
			present[i] = false
		}
		for next := []byte{}; next != nil; {
			next = tree.Compact(main, next, 100, func(Revision, bool) {})
		}
		verify(t, tree)
		check(tree.Snapshot(), present, main)
		check(before, was, at)
	}
	if tree.root.size() != 0 {
		t.Errorf("%d slots left in the root of an empty tree", tree.root.size())
	}
}

// TestVersionAfterCompaction: what compaction leaves of a generation still
// knows when and how often the key was written.
func TestVersionAfterCompaction(t *testing.T) {
	tree := New()
	for main := int64(2); main <= 6; main++ {
		tree.Put([]byte("a"), Revision{main, 0})
	}
	tree.Compact(4, nil, 10, func(Revision, bool) {})
	s := tree.Snapshot()
	for at, want := range map[int64]Key{
		4: {[]byte("a"), Revision{2, 0}, Revision{4, 0}, 3},
		5: {[]byte("a"), Revision{2, 0}, Revision{5, 0}, 4},
		9: {[]byte("a"), Revision{2, 0}, Revision{6, 0}, 5},
	} {
		if got, ok := s.Get([]byte("a"), at); !ok || !sameKey(got, want) {
			t.Errorf("Get at %d = %v %v, want %v", at, got, ok, want)
		}
	}
}

func TestRangeBounds(t *testing.T) {
	tree := New()
	for i, key := range []string{"a", "a\x00", "b", "c", "\xff"} {
		tree.Put([]byte(key), Revision{int64(i + 2), 0})
	}
	s := tree.Snapshot()
	for _, tc := range []struct {
		key, end string
		want     []string
	}{
		{"b", "", []string{"b"}},
		{"bb", "", nil},
		{"", "", nil},
		{"a", "a", nil},
		{"c", "a", nil},
		{"a", "b", []string{"a", "a\x00"}},
		{"a", "a\x00", []string{"a"}},
		{"a\x00", "c", []string{"a\x00", "b"}},
		{"b", "\x00", []string{"b", "c", "\xff"}},
		{"", "\x00", []string{"a", "a\x00", "b", "c", "\xff"}},
		{"\x00", "\x00", []string{"a", "a\x00", "b", "c", "\xff"}},
		{"\xff\xff", "\x00", nil},
	} {
		var got []string
		s.Ascend([]byte(tc.key), []byte(tc.end), 9, func(k Key) bool { got = append(got, string(k.Key)); return true })
		if !slices.Equal(got, tc.want) {
			t.Errorf("Ascend(%q, %q) = %q, want %q", tc.key, tc.end, got, tc.want)
		}
		if n := s.Count([]byte(tc.key), []byte(tc.end), 9); n != int64(len(tc.want)) {
			t.Errorf("Count(%q, %q) = %d, want %d", tc.key, tc.end, n, len(tc.want))
		}
		_, ok := s.Extreme([]byte(tc.key), []byte(tc.end), ExtremeQuery{})
		if ok != (len(tc.want) > 0) {
			t.Errorf("Extreme(%q, %q) found one: %v, of %q", tc.key, tc.end, ok, tc.want)
		}
	}
}

func TestEmpty(t *testing.T) {
	for name, s := range map[string]Snapshot{"zero": {}, "new": New().Snapshot()} {
		if _, ok := s.Get([]byte("a"), 1); ok {
			t.Errorf("%s: found a key", name)
		}
		s.Ascend(nil, []byte{0}, 1, func(k Key) bool { t.Errorf("%s: visited %v", name, k); return true })
		if n := s.Count(nil, []byte{0}, 1); n != 0 || s.Len() != 0 {
			t.Errorf("%s: Count = %d, Len = %d", name, n, s.Len())
		}
		if _, ok := s.Extreme(nil, []byte{0}, ExtremeQuery{}); ok {
			t.Errorf("%s: has an extreme", name)
		}
	}
	if next := New().Compact(5, nil, 1, func(Revision, bool) {}); next != nil {
		t.Errorf("Compact of an empty tree goes on from %q", next)
	}
}

func TestAscendStops(t *testing.T) {
	tree := New()
	for i := range int64(200) {
		tree.Put(fmt.Appendf(nil, "%03d", i), Revision{i + 2, 0})
	}
	visited := 0
	tree.Snapshot().Ascend([]byte("050"), []byte{0}, 500, func(Key) bool { visited++; return visited < 60 })
	if visited != 60 {
		t.Errorf("visited %d keys after saying stop at 60", visited)
	}
}

// TestRestore rebuilds a tree from what another one's store would hold, half
// compacted, and expects the same answers.
func TestRestore(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	m := &model{}
	for main := int64(2); main < 3000; main++ {
		if key := someKey(rng); rng.IntN(3) == 0 {
			m.delete(key, Revision{main, 0})
		} else {
			m.put(key, Revision{main, 0})
		}
	}
	m.compact(1500)
	tree := New()
	for _, e := range m.log {
		if !e.forgotten {
			tree.Restore([]byte(e.key), e.rev, e.created, e.version, e.version == 0)
		}
	}
	verify(t, tree)
	s := tree.Snapshot()
	for _, at := range []int64{1500, 1501, 2000, 2900, 2999} {
		if err := differ(s, m, rng, at, at == 2999); err != nil {
			t.Errorf("at %d: %v", at, err)
		}
	}
	compactBoth(t, tree, m, 2500, 100)
	if got, want := tree.Put([]byte("new"), Revision{3000, 0}), m.put("new", Revision{3000, 0}); !sameKey(got, want) {
		t.Errorf("put after restore: %v, want %v", got, want)
	}
}

func TestOldRevisionPanics(t *testing.T) {
	tree := New()
	tree.Put([]byte("a"), Revision{3, 1})
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	tree.Put([]byte("b"), Revision{3, 1})
}

// TestReadersBesideWriter is for the race detector: readers hold snapshots
// while the writer changes, deletes and compacts the same keys.
func TestReadersBesideWriter(t *testing.T) {
	tree := New()
	snapshots := make(chan moment)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for m := range snapshots {
				seen := map[string]Revision{}
				for range 2 {
					m.snapshot.Ascend(nil, []byte{0}, m.rev, func(k Key) bool {
						if was, ok := seen[string(k.Key)]; ok && was != k.Modified {
							t.Errorf("%q moved from %v to %v", k.Key, was, k.Modified)
						}
						seen[string(k.Key)] = k.Modified
						return true
					})
				}
				if n := m.snapshot.Count(nil, []byte{0}, m.rev); n != int64(len(seen)) {
					t.Errorf("Count = %d, visited %d", n, len(seen))
				}
				m.snapshot.Ascend(nil, []byte{0}, m.rev-20, func(Key) bool { return true })
				m.snapshot.Extreme(nil, []byte{0}, ExtremeQuery{By: ByModify})
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for main := int64(2); main < 6000; main++ {
		key := []byte(someKey(rng))
		if main%4 == 0 {
			tree.Delete(key, Revision{main, 0})
		} else {
			tree.Put(key, Revision{main, 0})
		}
		if main%500 == 0 {
			tree.Compact(main-100, nil, 1000, func(Revision, bool) {})
		}
		if main%10 == 0 {
			snapshots <- moment{snapshot: tree.Snapshot(), rev: main}
		}
	}
	close(snapshots)
	readers.Wait()
}

// TestModelComplains makes sure that the comparison can fail.
func TestModelComplains(t *testing.T) {
	tree, m := New(), &model{}
	for i, key := range slices.Sorted(maps.Keys(map[string]bool{"3": true, "6": true, "9": true})) {
		tree.Put([]byte(key), Revision{int64(i + 2), 0})
		m.put(key, Revision{int64(i + 2), 0})
	}
	rng := rand.New(rand.NewPCG(1, 1))
	if err := differ(tree.Snapshot(), m, rng, 4, true); err != nil {
		t.Fatal(err)
	}
	m.put("6", Revision{5, 0})
	if differ(tree.Snapshot(), m, rng, 5, true) == nil {
		t.Error("a lost put went unnoticed")
	}
}
