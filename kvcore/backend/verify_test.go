package backend

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// sealMetas changes fields of a file's two metas and makes their checksums right.
func sealMetas(data []byte, change func(i int, meta []byte)) {
	for i := range 2 {
		meta := data[i*os.Getpagesize()+headerBytes:]
		change(i, meta)
		sum := fnv.New64a()
		sum.Write(meta[:metaBytes-8])
		binary.NativeEndian.PutUint64(meta[metaBytes-8:], sum.Sum64())
	}
}

func sampleFile(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	b, err := openBolt(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(20) {
		batch := b.Begin(i+1, 1)
		batch.Put(Key, fmt.Append(nil, i), make([]byte, 3000))
		if err := b.Commit(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Metas with right checksums that lie: whoever made them knew how.
func TestLyingMetasAreRefused(t *testing.T) {
	put32, put64 := binary.NativeEndian.PutUint32, binary.NativeEndian.PutUint64
	for name, change := range map[string]func(i int, meta []byte){
		"page size 0":      func(_ int, m []byte) { put32(m[8:], 0) },
		"page size 48":     func(_ int, m []byte) { put32(m[8:], 48) },
		"page size 3000":   func(_ int, m []byte) { put32(m[8:], 3000) },
		"page size 8192":   func(_ int, m []byte) { put32(m[8:], 8192) },
		"page size 2^31":   func(_ int, m []byte) { put32(m[8:], 1<<31) },
		"page size 2^32-1": func(_ int, m []byte) { put32(m[8:], math.MaxUint32) },
		"2^52 pages more":  func(_ int, m []byte) { put64(m[40:], binary.NativeEndian.Uint64(m[40:])+1<<52) },
		"2^63 pages":       func(_ int, m []byte) { put64(m[40:], 1<<63) },
		"no pages":         func(_ int, m []byte) { put64(m[40:], 0) },
		"root beyond":      func(_ int, m []byte) { put64(m[16:], 1<<40) },
		"root is a meta":   func(_ int, m []byte) { put64(m[16:], 0) },
		"freelist beyond":  func(_ int, m []byte) { put64(m[32:], 1<<40) },
		"freelist is root": func(_ int, m []byte) { copy(m[32:40], m[16:24]) },
		"the newest, which is unsound, in the other's place": func(i int, m []byte) {
			put64(m[48:], uint64(1001-i))
			if i == 0 {
				put64(m[16:], 1<<40)
			}
		},
		"the last transaction there is": func(i int, m []byte) { put64(m[48:], math.MaxUint64-uint64(i)) },
	} {
		t.Run(name, func(t *testing.T) {
			data := sampleFile(t)
			sealMetas(data, change)
			path := filepath.Join(t.TempDir(), "db")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			expectDamaged(t, path)
		})
	}
}

// What is not a bucket beside the buckets, or a bucket within one, is no store.
func TestMisplacedEntriesAreRefused(t *testing.T) {
	for name, place := range map[string]func(tx *bbolt.Tx) error{
		"beside the buckets": func(tx *bbolt.Tx) error { return tx.Cursor().Bucket().Put([]byte("stray"), []byte("x")) },
		"bucket in a bucket": func(tx *bbolt.Tx) error {
			_, err := tx.Bucket([]byte("meta")).CreateBucket([]byte("inner"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			b, err := openBolt(path, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(b.file.db.Update(place), b.Close()); err != nil {
				t.Fatal(err)
			}
			expectDamaged(t, path)
		})
	}
}

func expectDamaged(t *testing.T, path string) {
	t.Helper()
	if _, err := OpenBoltReadOnly(path); !errors.Is(err, ErrDamaged) {
		t.Errorf("opened for reading: %v, want %v", err, ErrDamaged)
	}
	if _, err := openBolt(path, 1<<20); !errors.Is(err, ErrDamaged) {
		t.Errorf("opened: %v, want %v", err, ErrDamaged)
	}
}
