package disk

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

const seeds = 300

// outcomes crashes what set made once per seed and counts what look reports afterwards.
func outcomes(t *testing.T, set func(t *testing.T, m *Memory), look func(t *testing.T, m *Memory) string) map[string]int {
	t.Helper()
	seen := make(map[string]int)
	for seed := range uint64(seeds) {
		var first string
		for run := range 2 {
			m := NewMemory()
			set(t, m)
			m.Crash(seed)
			got := look(t, m)
			if run == 0 {
				first = got
				seen[got]++
			} else if got != first {
				t.Fatalf("seed %d: %.40q, then %.40q", seed, first, got)
			}
		}
	}
	return seen
}

func wantOutcomes(t *testing.T, got map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if got[w] == 0 {
			t.Errorf("%q never happened", w)
		}
	}
	for g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("%q happened", g)
		}
	}
}

func names(t *testing.T, m *Memory) string {
	list, err := m.List("/")
	must(t, err)
	return strings.Join(list, " ")
}

func durableFile(t *testing.T, m *Memory, name, data string) File {
	f := create(t, m, name)
	write(t, f, data, 0)
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	return f
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	synced := strings.Repeat("s", 3*SectorSize+100)
	got := outcomes(t,
		func(t *testing.T, m *Memory) { durableFile(t, m, "/f", synced) },
		func(t *testing.T, m *Memory) string { return string(content(t, open(t, m, "/f"))) })
	wantOutcomes(t, got, synced)
}

func TestCrashMixesUnsyncedSectors(t *testing.T) {
	old, young := strings.Repeat("o", 2*SectorSize), strings.Repeat("y", 2*SectorSize)
	torn := 0
	got := outcomes(t,
		func(t *testing.T, m *Memory) { write(t, durableFile(t, m, "/f", old), young, 0) },
		func(t *testing.T, m *Memory) string {
			b := content(t, open(t, m, "/f"))
			if first := b[:SectorSize]; len(bytes.Trim(first, "o")) > 0 && len(bytes.Trim(first, "y")) > 0 {
				torn++
				return "torn"
			}
			if second := b[SectorSize:]; len(bytes.Trim(second, "o")) > 0 && len(bytes.Trim(second, "y")) > 0 {
				return "torn"
			}
			return string([]byte{b[0], b[SectorSize]})
		})
	wantOutcomes(t, got, "oo", "yy", "oy", "yo", "torn")
	if torn == 0 {
		t.Error("the first sector was never torn")
	}
}

func TestCrashMayLeaveAnIntermediateState(t *testing.T) {
	got := outcomes(t,
		func(t *testing.T, m *Memory) {
			f := durableFile(t, m, "/f", "a")
			write(t, f, "b", 0)
			write(t, f, "c", 0)
		},
		func(t *testing.T, m *Memory) string { return string(content(t, open(t, m, "/f"))) })
	wantOutcomes(t, got, "a", "b", "c")
}

func TestCrashAndLength(t *testing.T) {
	got := outcomes(t,
		func(t *testing.T, m *Memory) {
			f := durableFile(t, m, "/f", "ab")
			must(t, f.Truncate(1))
			must(t, f.Truncate(0))
		},
		func(t *testing.T, m *Memory) string { return string(content(t, open(t, m, "/f"))) })
	for _, want := range []string{"ab", "a", ""} {
		if got[want] == 0 {
			t.Errorf("%q never happened", want)
		}
	}
}

func TestCrashAndNames(t *testing.T) {
	for _, c := range []struct {
		what string
		set  func(t *testing.T, m *Memory)
		want []string
	}{
		{"create", func(t *testing.T, m *Memory) { create(t, m, "/x") }, []string{"", "x"}},
		{"create, synced", func(t *testing.T, m *Memory) { create(t, m, "/x"); must(t, m.SyncDir("/")) }, []string{"x"}},
		{"file synced, name not", func(t *testing.T, m *Memory) { must(t, create(t, m, "/x").Sync()) }, []string{"", "x"}},
		{"remove", func(t *testing.T, m *Memory) { durableFile(t, m, "/x", "1"); must(t, m.Remove("/x")) }, []string{"", "x"}},
		{"rename", func(t *testing.T, m *Memory) { durableFile(t, m, "/x", "1"); must(t, m.Rename("/x", "/y")) }, []string{"x", "y"}},
		{"two creates in either order", func(t *testing.T, m *Memory) { create(t, m, "/x"); create(t, m, "/y") }, []string{"", "x", "y", "x y"}},
		{"create and rename in order", func(t *testing.T, m *Memory) { create(t, m, "/x"); must(t, m.Rename("/x", "/y")) }, []string{"", "x", "y"}},
		{"directory", func(t *testing.T, m *Memory) { must(t, m.MkdirAll("/d")) }, []string{"d"}},
	} {
		t.Run(c.what, func(t *testing.T) { wantOutcomes(t, outcomes(t, c.set, names), c.want...) })
	}
}

func TestCrashKillsHandlesAndLocks(t *testing.T) {
	m := NewMemory()
	f := durableFile(t, m, "/f", "1")
	_, err := m.Lock("/lock")
	must(t, err)
	m.Crash(1)
	_, writeErr := f.WriteAt([]byte("2"), 0)
	_, readErr := f.ReadAt(make([]byte, 1), 0)
	for _, err := range []error{writeErr, readErr, f.Sync(), f.Truncate(0), f.Close()} {
		if !errors.Is(err, ErrCrashed) {
			t.Errorf("%v, want ErrCrashed", err)
		}
	}
	wantContent(t, open(t, m, "/f"), "1")
	if _, err := m.Lock("/lock"); err != nil {
		t.Errorf("lock after a crash: %v", err)
	}
}

func TestFaults(t *testing.T) {
	boom := errors.New("boom")
	m := NewMemory()
	f := durableFile(t, m, "/f", "old")
	m.SetFault(FailNth(2, boom, func(op Op) bool { return op == Op{Kind: Write, Name: "/f"} }))
	write(t, f, "1", 0)
	if n, err := f.WriteAt([]byte("abcd"), 0); n != 2 || !errors.Is(err, boom) {
		t.Errorf("second write: %d, %v; want 2, boom", n, err)
	}
	write(t, f, "3", 2)
	wantContent(t, f, "ab3")
}

// TestFailedSyncIsNotMadeUpFor holds the model to the lesson of Linux: a later fsync that succeeds says
// nothing about the pages an earlier one failed to write.
func TestFailedSyncIsNotMadeUpFor(t *testing.T) {
	got := outcomes(t,
		func(t *testing.T, m *Memory) {
			f := durableFile(t, m, "/f", "old")
			write(t, f, "new", 0)
			m.SetFault(FailNth(1, errors.New("boom"), func(op Op) bool { return op.Kind == Sync }))
			if f.Sync() == nil {
				t.Fatal("the sync did not fail")
			}
			must(t, f.Sync())
			wantContent(t, f, "new")
		},
		func(t *testing.T, m *Memory) string {
			b := string(content(t, open(t, m, "/f")))
			if b != "old" && b != "new" {
				return "torn"
			}
			return b
		})
	if got["old"] == 0 || got["new"] == 0 {
		t.Errorf("got %v, want old and new", got)
	}
}
