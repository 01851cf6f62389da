package backend

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// fillSample makes a store with something in most buckets.
func fillSample(f *testing.F, b Backend) {
	f.Helper()
	batch := b.Begin(7, 2)
	for i := range byte(40) {
		batch.Put(Key, []byte{i, '_'}, bytes.Repeat([]byte{i}, int(i)*20))
	}
	batch.Put(Lease, []byte("lease"), []byte{1})
	batch.Put(Members, []byte("a"), []byte("{}"))
	if err := b.Commit(batch); err != nil {
		f.Fatal(err)
	}
}

// A stream is read whole and equal to what was written, or refused; it takes no
// more memory than it has bytes.
func FuzzReadFrames(f *testing.F) {
	m := NewMemory()
	fillSample(f, m)
	r := m.Reader()
	defer r.Release()
	var store, delta bytes.Buffer
	if _, err := r.WriteTo(&store); err != nil {
		f.Fatal(err)
	}
	if _, err := WriteDelta(&delta, r, []byte{20}); err != nil {
		f.Fatal(err)
	}
	f.Add(store.Bytes())
	f.Add(delta.Bytes())
	f.Add([]byte(deltaMagic + "\x00\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		read := 0
		err := ReadDelta(bytes.NewReader(data), func(_ Bucket, key, value []byte) error {
			if read += len(key) + len(value); cap(key)+cap(value) > 128<<10+4*len(data) {
				t.Fatalf("%d bytes for a record in %d", cap(key)+cap(value), len(data))
			}
			return nil
		})
		if read > len(data) {
			t.Errorf("%d bytes of records in %d", read, len(data))
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("refused with %v", err)
		}
		b, err := RestoreMemory(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("refused with %v", err)
			}
			return
		}
		defer b.Close()
		r := b.Reader()
		defer r.Release()
		var again bytes.Buffer
		if _, err := r.WriteTo(&again); err != nil || again.Len() > len(data) {
			t.Errorf("%d bytes became %d, %v", len(data), again.Len(), err)
		}
	})
}

// A file is opened and can be read and written, or it is refused.
func FuzzOpenBolt(f *testing.F) {
	path := filepath.Join(f.TempDir(), "db")
	b, err := openBolt(path, 1<<20)
	if err != nil {
		f.Fatal(err)
	}
	fillSample(f, b)
	if err := b.Close(); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, false)
	f.Add(data[:len(data)/2], false)
	f.Add(data, true)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if sealed && len(data) >= 2*os.Getpagesize() {
			data = bytes.Clone(data)
			sealMetas(data, func(int, []byte) {}) // else no change of a meta would be looked at
		}
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := openBolt(path, 1<<20)
		if err != nil {
			return
		}
		defer b.Close()
		r := b.Reader()
		for bucket := range All() {
			r.Ascend(bucket, nil, nil, func(_, _ []byte) bool { return true })
		}
		r.Release()
		batch := b.Begin(9, 9)
		batch.Put(Key, []byte("k"), []byte("v"))
		if err := b.Commit(batch); err != nil {
			t.Fatal(err)
		}
		if index, term := b.Applied(); index != 9 || term != 9 {
			t.Errorf("applied %d, %d", index, term)
		}
	})
}
