package backend

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// A file opened for reading only stays byte for byte as it was, though it lacks
// buckets and something follows it.
func TestReadOnlyChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(Lease.String()))
		if err != nil {
			return err
		}
		return b.Put([]byte("k"), []byte("v"))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before = append(before, "a checksum"...)
	if err := os.WriteFile(path, before, 0o400); err != nil {
		t.Fatal(err)
	}
	readStore(t, path)
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed (%v)", err)
	}
}

func readStore(t *testing.T, path string) {
	t.Helper()
	b, err := OpenBoltReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	beside, err := OpenBoltReadOnly(path)
	if err != nil {
		t.Fatalf("beside another reader: %v", err)
	}
	defer beside.Close()
	r := b.Reader()
	defer r.Release()
	if v := r.Get(Lease, []byte("k")); string(v) != "v" {
		t.Errorf("got %q", v)
	}
	if v := r.Get(Key, []byte("k")); v != nil {
		t.Errorf("got %q from a bucket that is not there", v)
	}
	r.Ascend(Key, nil, nil, func(k, _ []byte) bool {
		t.Errorf("visited %q in a bucket that is not there", k)
		return true
	})
	batch := b.Begin(1, 1)
	batch.Put(Lease, []byte("k"), []byte("w"))
	if err := b.Commit(batch); err == nil {
		t.Error("a commit went through")
	}
}

func TestReadOnlyRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if _, err := OpenBoltReadOnly(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	b, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBoltReadOnly(path); !errors.Is(err, ErrInUse) {
		t.Errorf("a store in use: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("text"), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBoltReadOnly(path); !errors.Is(err, ErrDamaged) {
		t.Errorf("a text: %v", err)
	}
}
