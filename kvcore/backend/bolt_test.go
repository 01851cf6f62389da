package backend

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

func TestInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	b := mustOpen(t, path)
	if _, err := OpenBolt(path); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("second open: %v", err)
	}
	mustClose(t, b)
	mustClose(t, mustOpen(t, path))
}

// TestUnfinishedCreation: what a crash while creating leaves behind does not
// hinder the next start.
func TestUnfinishedCreation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path+".partial", []byte("half a page"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, path))
	if _, err := os.Stat(path + ".partial"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the remains are still there: %v", err)
	}
}

func TestOpenFails(t *testing.T) {
	if _, err := OpenBolt(filepath.Join(t.TempDir(), "none", "db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a missing directory: %v", err)
	}
	for name, content := range map[string]string{
		"empty": "", "short": "x", "text": strings.Repeat("no store\n", 5000), "zeros": string(make([]byte, 1<<16)),
	} {
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenBolt(path); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMissingBuckets: a file made without our buckets gets them and keeps
// what it has.
func TestMissingBuckets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		key, err := tx.CreateBucket([]byte("key"))
		if err != nil {
			return err
		}
		return key.Put([]byte("a"), []byte("v"))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	b := mustOpen(t, path)
	defer mustClose(t, b)
	if got := contentOf(b); got != "key \"a\"=\"v\"\n" {
		t.Errorf("content %s", got)
	}
	batch := b.Begin(1, 1)
	batch.Put(AuthUsers, []byte("root"), []byte("x"))
	mustCommit(t, b, batch)
}

// TestGrowthBesideReader: the file grows far beyond its first size, and up to
// the end of the map, with a reader open all the time; then commits fail
// instead of waiting for the reader, and a new start has room again.
func TestGrowthBesideReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	b, err := openBolt(path, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	r := b.Reader()
	committed := 0
	for err == nil && committed < 100 {
		batch := b.Begin(uint64(committed+1), 1)
		batch.Put(Key, fmt.Appendf(nil, "%03d", committed), make([]byte, 1<<20))
		if err = b.Commit(batch); err == nil {
			committed++
		}
	}
	if total, _ := b.Size(); err == nil || total < 32<<20 {
		t.Errorf("the file grew to %d bytes of 64 MiB, then: %v", total, err)
	}
	if index, _ := b.Applied(); index != uint64(committed) {
		t.Errorf("applied %d after %d commits", index, committed)
	}
	if got := content(r); got != "" {
		t.Errorf("the reader sees %d bytes", len(got))
	}
	r.Release()
	mustClose(t, b)
	again := mustOpen(t, path)
	defer mustClose(t, again)
	batch := again.Begin(uint64(committed+1), 1)
	batch.Put(Key, []byte("more"), make([]byte, 20<<20))
	mustCommit(t, again, batch)
}

// sample returns a bbolt file with branches, overflow pages and, if asked, a
// freelist in the file, as tools that use bbolt's defaults leave it.
func sample(t *testing.T, path string, freelist bool) []byte {
	t.Helper()
	b := mustOpen(t, path)
	batch := b.Begin(1, 1)
	for i := range 1000 {
		batch.Put(Key, fmt.Appendf(nil, "%05d", i), make([]byte, i%150))
	}
	batch.Put(Key, []byte("large"), make([]byte, 20<<10))
	mustCommit(t, b, batch)
	drop := b.Begin(2, 1)
	for i := range 300 {
		drop.Delete(Key, fmt.Appendf(nil, "%05d", i))
	}
	mustCommit(t, b, drop)
	mustClose(t, b)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: !freelist})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer // without the room to grow that the file itself has
	err = db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(&file)
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// TestDamagedFile flips bits all over sound files, most of them in page
// headers and elements, and cuts them short. Whatever comes of it, opening
// and using the store may fail but not panic.
func TestDamagedFile(t *testing.T) {
	const damages = 400
	for name, freelist := range map[string]bool{"plain": false, "freelist": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			sound := sample(t, path, freelist)
			rng := rand.New(rand.NewPCG(1, 1))
			page := os.Getpagesize()
			found := 0
			for range damages {
				file := append([]byte(nil), sound...)
				switch rng.IntN(10) {
				case 0:
					file = file[:rng.IntN(len(file))]
				case 1:
					copy(file[rng.IntN(len(file)/page)*page:], make([]byte, page))
				default:
					at := rng.IntN(len(file)/page) * page
					file[at+rng.IntN([]int{16, 200, page}[rng.IntN(3)])] ^= 1 << rng.IntN(8)
				}
				if useDamaged(t, path, file) {
					found++
				}
			}
			t.Logf("%d of %d damages were found", found, damages)
			if found < damages/20 { // most hit values, which only their readers can judge, or free pages
				t.Errorf("only %d of %d damages were found", found, damages)
			}
		})
	}
}

// useDamaged opens and uses a file and reports whether it was refused.
func useDamaged(t *testing.T, path string, file []byte) bool {
	t.Helper()
	t.Helper()
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := OpenBolt(path)
	if err != nil {
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("damaged file: %v", err)
		}
		return true
	}
	contentOf(b)
	batch := b.Begin(3, 1)
	for i := range 1000 {
		batch.Put(Key, fmt.Appendf(nil, "%05d", i*3), []byte("changed"))
	}
	batch.Delete(Key, []byte("large"))
	mustCommit(t, b, batch)
	mustClose(t, b)
	return false
}
