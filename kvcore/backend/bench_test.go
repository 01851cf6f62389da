package backend

import (
	"encoding/binary"
	"path/filepath"
	"testing"
)

func revisionKey(dst []byte, main uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst[:0], main)
	dst = append(dst, '_')
	return binary.BigEndian.AppendUint64(dst, 0)
}

// filled returns a bolt store of 200,000 revisions of 200 bytes.
func filled(b *testing.B) Backend {
	b.Helper()
	store, err := OpenBolt(filepath.Join(b.TempDir(), "db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	for main := uint64(0); main < 200_000; {
		batch := store.Begin(main+1, 1)
		for range 20_000 {
			main++
			batch.Put(Key, revisionKey(nil, main), make([]byte, 200))
		}
		if err := store.Commit(batch); err != nil {
			b.Fatal(err)
		}
	}
	return store
}

func BenchmarkBoltReader(b *testing.B) {
	store := filled(b)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			store.Reader().Release()
		}
	})
}

func BenchmarkBoltGet(b *testing.B) {
	store := filled(b)
	r := store.Reader()
	defer r.Release()
	var key []byte
	main := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		main = (main + 7919) % 200_000
		key = revisionKey(key, main+1)
		if r.Get(Key, key) == nil {
			b.Fatal("absent")
		}
	}
}

func BenchmarkBoltAscend(b *testing.B) {
	store := filled(b)
	r := store.Reader()
	defer r.Release()
	b.ReportAllocs()
	for b.Loop() {
		r.Ascend(Key, nil, nil, func(k, v []byte) bool { return true })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200_000, "ns/pair")
}

func BenchmarkBoltCommit(b *testing.B) {
	store := filled(b)
	main := uint64(200_000)
	b.ReportAllocs()
	for b.Loop() {
		batch := store.Begin(main, 1)
		for range 1000 {
			main++
			batch.Put(Key, revisionKey(nil, main), make([]byte, 200))
		}
		if err := store.Commit(batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBoltOpen(b *testing.B) {
	store := filled(b).(*bolt)
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		again, err := OpenBolt(store.path)
		if err != nil {
			b.Fatal(err)
		}
		if err := again.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
