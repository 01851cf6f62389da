package index

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

const million = 1_000_000

// benchKey is a key of 40 bytes; neighbours in i are far apart in order.
func benchKey(dst []byte, i int) []byte {
	return fmt.Appendf(dst[:0], "/registry/pods/default/pod-%013d", uint64(i)*2654435761%(1<<40))
}

func million40() *Tree {
	tree := New()
	var key []byte
	for i := range million {
		key = benchKey(key, i)
		tree.Restore(key, Revision{int64(i + 2), 0}, Revision{int64(i + 2), 0}, 1, false)
	}
	return tree
}

// BenchmarkPutExisting takes a snapshot after each n-th put, as the store
// does after each batch it applies.
func BenchmarkPutExisting(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			tree, rng := million40(), rand.New(rand.NewPCG(1, 1))
			rev := int64(million + 2)
			var key []byte
			b.ReportAllocs()
			for b.Loop() {
				rev++
				key = benchKey(key, rng.IntN(million))
				tree.Put(key, Revision{rev, 0})
				if rev%int64(batch) == 0 {
					tree.Snapshot()
				}
			}
		})
	}
}

func BenchmarkPutNew(b *testing.B) {
	for _, batch := range []int{1, 256} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			tree := million40()
			i := million
			var key []byte
			b.ReportAllocs()
			for b.Loop() {
				i++
				key = benchKey(key, i)
				tree.Put(key, Revision{int64(i + 2), 0})
				if i%batch == 0 {
					tree.Snapshot()
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	tree, rng := million40(), rand.New(rand.NewPCG(1, 1))
	s := tree.Snapshot()
	var key []byte
	b.ReportAllocs()
	for b.Loop() {
		key = benchKey(key, rng.IntN(million))
		if _, ok := s.Get(key, million+2); !ok {
			b.Fatal("absent")
		}
	}
}

func BenchmarkCountMillion(b *testing.B) {
	s := million40().Snapshot()
	b.ReportAllocs()
	for b.Loop() {
		if s.Count([]byte("/registry/pods/"), []byte("/registry/pods0"), million+2) != million {
			b.Fatal("miscounted")
		}
	}
}

func BenchmarkCountHalf(b *testing.B) {
	s := million40().Snapshot()
	from := benchKey(nil, million/2)
	b.ReportAllocs()
	for b.Loop() {
		s.Count(from, []byte{0}, million+2)
	}
}

func BenchmarkExtreme(b *testing.B) {
	s := million40().Snapshot()
	from := benchKey(nil, million/2)
	b.ReportAllocs()
	for b.Loop() {
		s.Extreme(from, []byte{0}, ExtremeQuery{By: ByModify, Largest: true})
	}
}

func BenchmarkAscend(b *testing.B) {
	s := million40().Snapshot()
	b.ReportAllocs()
	for b.Loop() {
		s.Ascend(nil, []byte{0}, million+2, func(Key) bool { return true })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/million, "ns/key")
}

// BenchmarkMemory reports what a key of 40 bytes costs in all, bytes of the
// key included.
func BenchmarkMemory(b *testing.B) {
	builds := map[string]func(*Tree, []byte, Revision){
		"restored": func(t *Tree, key []byte, rev Revision) { t.Restore(key, rev, rev, 1, false) },
		"put":      func(t *Tree, key []byte, rev Revision) { t.Put(key, rev) },
		"put-sorted": func(t *Tree, key []byte, rev Revision) {
			t.Put(fmt.Appendf(key[:0], "/registry/pods/default/pod-%013d", rev.Main), rev)
		},
		"put-twice": func(t *Tree, key []byte, rev Revision) {
			t.Put(key, Revision{rev.Main, 0})
			t.Put(key, Revision{rev.Main, 1})
		},
	}
	for name, add := range builds {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				tree := New()
				var key []byte
				for i := range million {
					key = benchKey(key, i)
					add(tree, key, Revision{int64(i + 2), 0})
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/million, "B/key")
				b.ReportMetric(float64(after.HeapObjects-before.HeapObjects)/million, "objects/key")
				runtime.KeepAlive(tree)
			}
		})
	}
}
