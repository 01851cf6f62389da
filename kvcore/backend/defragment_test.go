package backend

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fragmented returns a store of which most is free, and what it holds.
func fragmented(t *testing.T) (b *bolt, holds string) {
	t.Helper()
	b = mustOpen(t, filepath.Join(t.TempDir(), "db")).(*bolt)
	fill := b.Begin(1, 1)
	for i := range 10000 {
		fill.Put(Key, fmt.Appendf(nil, "%05d", i), make([]byte, 1<<10))
	}
	mustCommit(t, b, fill)
	drop := b.Begin(2, 1)
	for i := range 10000 {
		if i%3 > 0 {
			drop.Delete(Key, fmt.Appendf(nil, "%05d", i))
		}
	}
	mustCommit(t, b, drop)
	return b, contentOf(b)
}

func quiet(int64, int64) {}

func TestDefragmentationFreesSpace(t *testing.T) {
	b, holds := fragmented(t)
	defer mustClose(t, b)
	total, _ := b.Size()
	if err := b.Defragment(t.Context(), quiet); err != nil {
		t.Fatal(err)
	}
	after, inUse := b.Size()
	if after > total/2 || inUse > after {
		t.Errorf("%d bytes, %d in use, were %d", after, inUse, total)
	}
	if info, err := os.Stat(b.path); err != nil || info.Size() < after || info.Size() > total+16<<20 {
		t.Errorf("the file: %v, %v; the store has %d bytes", info, err, after)
	}
	if contentOf(b) != holds {
		t.Error("the content differs")
	}
}

// TestDefragmentationMakesRoom: the file may grow again by as much as after an open.
func TestDefragmentationMakesRoom(t *testing.T) {
	b, err := openBolt(filepath.Join(t.TempDir(), "db"), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, b)
	grow := func() (err error) {
		for i := 0; err == nil; i++ {
			batch := b.Begin(0, 0)
			batch.Put(Key, []byte{byte(i)}, make([]byte, 4<<20))
			err = b.Commit(batch)
		}
		return err
	}
	full := grow()
	before, _ := b.Size()
	if err := b.Defragment(t.Context(), quiet); err != nil {
		t.Fatal(err)
	}
	batch := b.Begin(0, 0)
	batch.Put(Key, []byte("more"), make([]byte, 20<<20))
	if err := b.Commit(batch); err != nil {
		t.Errorf("after the store had failed with %v at %d bytes and was defragmented: %v", full, before, err)
	}
}

// TestCrashWhileDefragmenting: whatever moment the process ends at, the next start
// finds all that was committed, and removes what is left over.
func TestCrashWhileDefragmenting(t *testing.T) {
	b, _ := fragmented(t)
	defer mustClose(t, b)
	moments := 0
	crash := func() {
		moments++
		dir := t.TempDir()
		for _, name := range []string{"db", "db" + defragSuffix} {
			if data, err := os.ReadFile(filepath.Join(filepath.Dir(b.path), name)); err == nil {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		again := mustOpen(t, filepath.Join(dir, "db"))
		defer mustClose(t, again)
		if contentOf(again) != contentOf(b) {
			t.Errorf("moment %d: the content differs", moments)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
			t.Errorf("moment %d: left over %v", moments, left)
		}
	}
	err := b.Defragment(t.Context(), func(int64, int64) {
		batch := b.Begin(0, 0)
		batch.Put(Key, []byte("during"), fmt.Append(nil, moments))
		mustCommit(t, b, batch)
		crash()
	})
	if err != nil {
		t.Fatal(err)
	}
	crash()
	if moments < 3 {
		t.Errorf("looked at %d moments only", moments)
	}
}

func TestDefragmentationIsCancelled(t *testing.T) {
	b, holds := fragmented(t)
	for what, end := range map[string]func(cancel context.CancelFunc){
		"by its caller": func(cancel context.CancelFunc) { cancel() },
		"by a close": func(context.CancelFunc) {
			b.beginClosing() // Close itself waits
		},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := b.Defragment(ctx, func(int64, int64) {
				if err := b.Defragment(ctx, quiet); !errors.Is(err, ErrBusy) {
					t.Errorf("a second one: %v", err)
				}
				end(cancel)
			})
			if !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
				t.Errorf("ended with %v", err)
			}
			checkUntouched(t, b, holds)
			b.closing, b.beginClosing = context.WithCancel(context.Background())
		})
	}
	mustClose(t, b)
}

// checkUntouched: a defragmentation that failed leaves nothing behind, and the
// store works.
func checkUntouched(t *testing.T, b *bolt, holds string) {
	t.Helper()
	if contentOf(b) != holds {
		t.Error("the content differs")
	}
	if left, _ := filepath.Glob(b.path + "?*"); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	mustCommit(t, b, b.Begin(0, 0))
}

func TestDiskFullWhileDefragmenting(t *testing.T) {
	b, holds := fragmented(t)
	defer mustClose(t, b)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	full := limit
	full.Cur = 2 << 20 // of any file; what a write beyond it gets is an error as from a full disk
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		t.Fatal(err)
	}
	err := b.Defragment(t.Context(), quiet)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err == nil || !strings.Contains(err.Error(), b.path) {
		t.Errorf("without room for the copy: %v", err)
	}
	checkUntouched(t, b, holds)
	if err := b.Defragment(t.Context(), quiet); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// TestCatchUpByComparing: where more keys changed than are remembered, comparing
// two readers finds the same as a record of them.
func TestCatchUpByComparing(t *testing.T) {
	b, _ := fragmented(t)
	defer mustClose(t, b)
	_, before := b.recordAnew()
	defer before.Release()
	batch := b.Begin(7, 1)
	for i := range 500 {
		batch.Put(Key, fmt.Appendf(nil, "%05d", i*20), []byte("new"))
		batch.Delete(Key, fmt.Appendf(nil, "%05d", i*9))
	}
	batch.Put(Key, []byte("x-last"), nil)
	batch.Put(AuthRoles, []byte("role"), []byte("r"))
	mustCommit(t, b, batch)
	recorded, after := b.recordAnew()
	b.stopRecording()
	defer after.Release()
	apply := func(follow func(*boltReader, func(Bucket, []byte, []byte) error) error) string {
		same := NewMemory()
		defer mustClose(t, same)
		copied := same.Begin(0, 0)
		for bucket := range Bucket(buckets) {
			before.Ascend(bucket, nil, nil, func(k, v []byte) bool {
				copied.Put(bucket, k, v)
				return true
			})
		}
		err := follow(after, func(bucket Bucket, k, v []byte) error {
			if v == nil {
				copied.Delete(bucket, k)
			} else {
				copied.Put(bucket, k, v)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		mustCommit(t, same, copied)
		return contentOf(same)
	}
	want := contentOf(b)
	if apply((&defragmentation{seen: before}).compare) != want {
		t.Error("comparing misses something")
	}
	if apply(recorded.each) != want {
		t.Error("the record misses something")
	}
	if recorded.bytes == 0 || recorded.lost {
		t.Errorf("the record of one batch: %d bytes, lost: %t", recorded.bytes, recorded.lost)
	}
}

// TestDefragmentKeepsUpWithCommits: commits that come faster than the copy is
// written at leisure do not make it go on for ever.
func TestDefragmentKeepsUpWithCommits(t *testing.T) {
	b, err := openBolt(filepath.Join(t.TempDir(), "db"), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	commits := uint64(0)
	commit := func(int64, int64) {
		if commits++; commits > 200 {
			giveUp()
		}
		batch := b.Begin(commits, 1)
		for half := range byte(2) {
			batch.Put(Key, append(binary.BigEndian.AppendUint64(nil, commits), half), make([]byte, copyBytes))
		}
		if err := b.Commit(batch); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		commit(0, 0)
	}
	if err := b.Defragment(ctx, commit); err != nil {
		t.Fatalf("after %d commits: %v", commits, err)
	}
	r := b.Reader()
	defer r.Release()
	kept := uint64(0)
	r.Ascend(Key, nil, nil, func(_, _ []byte) bool {
		kept++
		return true
	})
	if kept != 2*commits {
		t.Errorf("%d keys are there of %d commits of two", kept, commits)
	}
}

// TestDefragmentLeavesRoom: it ends before the disk is full, which commits and the
// log would not survive.
func TestDefragmentLeavesRoom(t *testing.T) {
	b, err := openBolt(filepath.Join(t.TempDir(), "db"), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	batch := b.Begin(1, 1)
	batch.Put(Key, []byte("k"), []byte("v"))
	if err := b.Commit(batch); err != nil {
		t.Fatal(err)
	}
	b.reserve = 1 << 62
	if err := b.Defragment(t.Context(), func(int64, int64) {}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("%v, want %v", err, ErrNoRoom)
	}
	if left, _ := filepath.Glob(b.path + "*"); len(left) != 1 {
		t.Errorf("files: %v", left)
	}
}
