package backend

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// store opens a backend and can open it again as another start would.
type store struct {
	open   func(t *testing.T) Backend
	reopen func(t *testing.T, b Backend) Backend      // closes b
	load   func(t *testing.T, written []byte) Backend // from what WriteTo wrote
}

func stores(t *testing.T) map[string]store {
	return map[string]store{
		"bolt": {
			open: func(t *testing.T) Backend { return mustOpen(t, filepath.Join(t.TempDir(), "db")) },
			reopen: func(t *testing.T, b Backend) Backend {
				mustClose(t, b)
				return mustOpen(t, b.(*bolt).path)
			},
			load: func(t *testing.T, written []byte) Backend {
				path := filepath.Join(t.TempDir(), "copy")
				if err := os.WriteFile(path, written, 0o600); err != nil {
					t.Fatal(err)
				}
				return mustOpen(t, path)
			},
		},
		"memory": {
			open: func(*testing.T) Backend { return NewMemory() },
			reopen: func(t *testing.T, b Backend) Backend {
				written := dump(t, b)
				mustClose(t, b)
				return mustRestore(t, written)
			},
			load: mustRestore,
		},
	}
}

func mustOpen(t *testing.T, path string) Backend {
	t.Helper()
	b, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustRestore(t *testing.T, written []byte) Backend {
	t.Helper()
	b, err := RestoreMemory(bytes.NewReader(written))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustClose(t *testing.T, b Backend) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustCommit(t *testing.T, b Backend, batch *Batch) {
	t.Helper()
	if err := b.Commit(batch); err != nil {
		t.Fatal(err)
	}
}

func dump(t *testing.T, b Backend) []byte {
	t.Helper()
	r := b.Reader()
	defer r.Release()
	var buf bytes.Buffer
	n, err := r.WriteTo(&buf)
	if err != nil || n != int64(buf.Len()) {
		t.Fatalf("WriteTo wrote %d bytes and returned %d, %v", buf.Len(), n, err)
	}
	return buf.Bytes()
}

// content lists all a reader holds, a line for each pair.
func content(r Reader) string {
	var out bytes.Buffer
	for bucket := range Bucket(buckets) {
		r.Ascend(bucket, nil, nil, func(k, v []byte) bool {
			fmt.Fprintf(&out, "%v %q=%q\n", bucket, k, v)
			return true
		})
	}
	return out.String()
}

func contentOf(b Backend) string {
	r := b.Reader()
	defer r.Release()
	return content(r)
}

// TestContract is what both implementations owe their users.
func TestContract(t *testing.T) {
	contract := map[string]func(*testing.T, store){
		"batch":      testBatch,
		"ascend":     testAscend,
		"applied":    testApplied,
		"isolation":  testIsolation,
		"badKey":     testBadKey,
		"copy":       testCopy,
		"close":      testClose,
		"readers":    testReadersBesideCommits,
		"noAllocs":   testReaderDoesNotAllocate,
		"size":       testSize,
		"defragment": testDefragment,
	}
	for name, s := range stores(t) {
		for rule, test := range contract {
			t.Run(name+"/"+rule, func(t *testing.T) { test(t, s) })
		}
	}
}

func testBatch(t *testing.T, s store) {
	b := s.open(t)
	batch := b.Begin(1, 1)
	batch.Put(Key, []byte("a"), []byte("old"))
	batch.Put(Key, []byte("a"), []byte("new"))
	batch.Put(Key, []byte("empty"), nil)
	batch.Put(Lease, []byte("a"), []byte("other bucket"))
	batch.Put(Key, []byte("gone"), []byte("x"))
	batch.Delete(Key, []byte("gone"))
	batch.Delete(Key, []byte("never there"))
	if batch.Len() != 7 || batch.Bytes() != len("aoldanewemptyaother bucketgonexgonenever there") {
		t.Errorf("Len = %d, Bytes = %d", batch.Len(), batch.Bytes())
	}
	mustCommit(t, b, batch)
	check := func() {
		t.Helper()
		r := b.Reader()
		defer r.Release()
		for _, tc := range []struct {
			bucket Bucket
			key    string
			want   []byte
		}{
			{Key, "a", []byte("new")}, {Key, "empty", []byte{}}, {Key, "gone", nil},
			{Key, "b", nil}, {Lease, "a", []byte("other bucket")}, {Alarm, "a", nil},
		} {
			got := r.Get(tc.bucket, []byte(tc.key))
			if !bytes.Equal(got, tc.want) || (got == nil) != (tc.want == nil) {
				t.Errorf("Get(%v, %q) = %q, want %q", tc.bucket, tc.key, got, tc.want)
			}
		}
	}
	check()
	b = s.reopen(t, b)
	check()
	mustClose(t, b)
}

func testAscend(t *testing.T, s store) {
	b := s.open(t)
	defer mustClose(t, b)
	batch := b.Begin(0, 0)
	for i := range 1000 {
		batch.Put(Key, fmt.Appendf(nil, "%03d", i), []byte("v"))
	}
	mustCommit(t, b, batch)
	r := b.Reader()
	defer r.Release()
	for _, tc := range []struct {
		from, to string
		stop     int
		want     int
	}{
		{"", "", 5000, 1000}, {"500", "", 5000, 500}, {"500", "600", 5000, 100}, {"5000", "501", 5000, 0},
		{"", "", 7, 7}, {"600", "500", 5000, 0}, {"999", "", 5000, 1}, {"9999", "", 5000, 0},
	} {
		var to []byte
		if tc.to != "" {
			to = []byte(tc.to)
		}
		visited, last := 0, []byte(nil)
		r.Ascend(Key, []byte(tc.from), to, func(k, v []byte) bool {
			if bytes.Compare(k, last) <= 0 || string(v) != "v" || string(r.Get(Key, k)) != "v" {
				t.Errorf("%q=%q after %q", k, v, last)
			}
			last = k
			visited++
			return visited < tc.stop
		})
		if visited != tc.want {
			t.Errorf("Ascend(%q, %q), stop at %d: visited %d, want %d", tc.from, tc.to, tc.stop, visited, tc.want)
		}
	}
}

func testApplied(t *testing.T, s store) {
	b := s.open(t)
	expect := func(wantIndex, wantTerm uint64) {
		t.Helper()
		r := b.Reader()
		defer r.Release()
		if index, term := b.Applied(); index != wantIndex || term != wantTerm {
			t.Errorf("Applied = %d, %d, want %d, %d", index, term, wantIndex, wantTerm)
		}
		if index, term := r.Applied(); index != wantIndex || term != wantTerm {
			t.Errorf("reader's Applied = %d, %d, want %d, %d", index, term, wantIndex, wantTerm)
		}
	}
	expect(0, 0)
	mustCommit(t, b, b.Begin(7, 2))
	expect(7, 2)
	mustCommit(t, b, b.Begin(0, 0))
	expect(7, 2)
	r := b.Reader()
	if got := r.Get(Meta, []byte("consistent_index")); !bytes.Equal(got, []byte{0, 0, 0, 0, 0, 0, 0, 7}) {
		t.Errorf("consistent_index is stored as %x", got)
	}
	r.Release()
	b = s.reopen(t, b)
	expect(7, 2)
	mustClose(t, b)
}

func testIsolation(t *testing.T, s store) {
	b := s.open(t)
	defer mustClose(t, b)
	var readers []Reader
	var wants []string
	for i := range 30 {
		batch := b.Begin(uint64(i+1), 1)
		for j := range 20 {
			batch.Put(Key, fmt.Appendf(nil, "%d", j*i%50), fmt.Appendf(nil, "%d", i))
			batch.Delete(Key, fmt.Appendf(nil, "%d", (j*i+1)%50))
		}
		mustCommit(t, b, batch)
		r := b.Reader()
		readers, wants = append(readers, r), append(wants, content(r))
	}
	for i, r := range readers {
		if got := content(r); got != wants[i] {
			t.Errorf("reader %d shows\n%swant\n%s", i, got, wants[i])
		}
		r.Release()
	}
}

// testBadKey: nothing of a batch that fails is kept.
func testBadKey(t *testing.T, s store) {
	b := s.open(t)
	defer mustClose(t, b)
	for _, key := range [][]byte{nil, make([]byte, MaxKeyBytes+1)} {
		batch := b.Begin(5, 5)
		batch.Put(Key, []byte("a"), []byte("v"))
		batch.Put(Key, key, []byte("v"))
		if err := b.Commit(batch); !errors.Is(err, ErrBadKey) {
			t.Errorf("key of %d bytes: %v", len(key), err)
		}
	}
	if got := contentOf(b); got != "" {
		t.Errorf("kept %s", got)
	}
	batch := b.Begin(0, 0)
	batch.Put(Key, make([]byte, MaxKeyBytes), []byte("v"))
	mustCommit(t, b, batch)
}

// testCopy: WriteTo writes the state of its reader, whatever came later.
func testCopy(t *testing.T, s store) {
	b := s.open(t)
	defer mustClose(t, b)
	batch := b.Begin(9, 3)
	for i := range 5000 {
		batch.Put(Key, fmt.Appendf(nil, "%05d", i), bytes.Repeat([]byte{byte(i)}, i%200))
	}
	batch.Put(Key, []byte("large"), make([]byte, 300<<10))
	batch.Put(Members, []byte("1"), []byte("m"))
	mustCommit(t, b, batch)
	r := b.Reader()
	defer r.Release()
	later := b.Begin(10, 3)
	for i := range 5000 {
		later.Delete(Key, fmt.Appendf(nil, "%05d", i))
	}
	mustCommit(t, b, later)
	var buf bytes.Buffer
	if n, err := r.WriteTo(&buf); err != nil || n != int64(buf.Len()) {
		t.Fatalf("WriteTo wrote %d bytes and returned %d, %v", buf.Len(), n, err)
	}
	if r.Size() != int64(buf.Len()) {
		t.Errorf("WriteTo wrote %d bytes, Size said %d", buf.Len(), r.Size())
	}
	c := s.load(t, buf.Bytes())
	defer mustClose(t, c)
	if contentOf(c) != content(r) {
		t.Error("the copy differs")
	}
	if index, term := c.Applied(); index != 9 || term != 3 {
		t.Errorf("the copy is at %d, %d", index, term)
	}
	mustCommit(t, c, later)
	if contentOf(c) != contentOf(b) {
		t.Error("the copy differs after the same commit")
	}
}

func testClose(t *testing.T, s store) {
	b := s.open(t)
	batch := b.Begin(1, 1)
	batch.Put(Key, []byte("a"), []byte("v"))
	mustCommit(t, b, batch)
	r := b.Reader()
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	for late := b.Reader(); late != nil; late = b.Reader() { // until Close has begun
		late.Release()
	}
	select {
	case <-closed:
		t.Fatal("Close did not wait for the reader")
	default:
	}
	if got := r.Get(Key, []byte("a")); string(got) != "v" {
		t.Errorf("while closing, a = %q", got)
	}
	r.Release()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(b.Begin(2, 2)); !errors.Is(err, ErrClosed) {
		t.Errorf("commit after close: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// testReadersBesideCommits: every reader sees whole batches, on one shared
// view from many goroutines.
func testReadersBesideCommits(t *testing.T, s store) {
	b := s.open(t)
	defer mustClose(t, b)
	const keys = 50
	commit := func(i int) {
		batch := b.Begin(uint64(i), 1)
		for k := range keys {
			batch.Put(Key, fmt.Appendf(nil, "%d", k), fmt.Appendf(nil, "%d", i))
		}
		mustCommit(t, b, batch)
	}
	commit(1)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r := b.Reader()
				index, _ := r.Applied()
				want := fmt.Sprint(index)
				visited := 0
				r.Ascend(Key, nil, nil, func(k, v []byte) bool {
					visited++
					if string(v) != want || string(r.Get(Key, k)) != want {
						t.Errorf("at %s: %q=%q", want, k, v)
					}
					return true
				})
				if visited != keys {
					t.Errorf("at %s: %d keys", want, visited)
				}
				r.Release()
			}
		})
	}
	for i := range 60 {
		commit(i + 2)
	}
	close(stop)
	readers.Wait()
}

func testReaderDoesNotAllocate(t *testing.T, s store) {
	b := s.open(t)
	defer mustClose(t, b)
	batch := b.Begin(1, 1)
	for i := range 5000 {
		batch.Put(Key, fmt.Appendf(nil, "%05d", i), make([]byte, 100))
	}
	mustCommit(t, b, batch)
	if allocs := testing.AllocsPerRun(100, func() { b.Reader().Release() }); allocs > 0 {
		t.Errorf("%v allocations to take a reader", allocs)
	}
}

func testSize(t *testing.T, s store) {
	b := s.open(t)
	defer mustClose(t, b)
	batch := b.Begin(1, 1)
	for i := range 100 {
		batch.Put(Key, fmt.Appendf(nil, "%02d", i), make([]byte, 10<<10))
	}
	mustCommit(t, b, batch)
	_, full := b.Size()
	drop := b.Begin(2, 1)
	for i := range 100 {
		drop.Delete(Key, fmt.Appendf(nil, "%02d", i))
	}
	mustCommit(t, b, drop)
	total, inUse := b.Size()
	if full < 1000<<10 || inUse > 100<<10 || total < inUse {
		t.Errorf("%d bytes in use when full, %d of %d when emptied", full, inUse, total)
	}
}

// testDefragment: commits and readers go on beside a defragmentation, and nothing
// of what they wrote or saw is different after it.
func testDefragment(t *testing.T, s store) {
	b := s.open(t)
	fill := b.Begin(1, 1)
	for i := range 4000 {
		fill.Put(Key, fmt.Appendf(nil, "%05d", i), make([]byte, 1<<10))
	}
	fill.Put(Alarm, []byte("alarm"), nil)
	mustCommit(t, b, fill)
	drop := b.Begin(2, 1)
	for i := range 3000 {
		drop.Delete(Key, fmt.Appendf(nil, "%05d", i))
	}
	mustCommit(t, b, drop)
	before := b.Reader()
	want := content(before)

	same := NewMemory() // what it should hold in the end
	defer mustClose(t, same)
	mustCommit(t, same, fill)
	mustCommit(t, same, drop)
	commits := uint64(2)
	beside := func(done, total int64) {
		if done > total {
			t.Errorf("%d bytes of %d are done", done, total)
		}
		commits++
		batch := b.Begin(commits, 1)
		batch.Put(Key, fmt.Appendf(nil, "%05d", commits), []byte("new"))
		batch.Put(Key, []byte("03500"), fmt.Appendf(nil, "%d", commits))
		batch.Delete(Key, fmt.Appendf(nil, "%05d", 3000+commits))
		batch.Put(Lease, []byte("lease"), fmt.Appendf(nil, "%d", commits))
		batch.Delete(Alarm, []byte("alarm"))
		mustCommit(t, b, batch)
		mustCommit(t, same, batch)
	}
	if err := b.Defragment(t.Context(), beside); err != nil {
		t.Fatal(err)
	}
	if commits == 2 {
		t.Error("no progress was told")
	}
	beside(0, 0)
	check := func() {
		t.Helper()
		if contentOf(b) != contentOf(same) {
			t.Error("the content differs")
		}
		if index, _ := b.Applied(); index != commits {
			t.Errorf("applied %d after %d commits", index, commits)
		}
	}
	check()
	if content(before) != want {
		t.Error("a reader from before sees something else after")
	}
	before.Release()
	b = s.reopen(t, b)
	check()
	mustClose(t, b)
	if err := b.Defragment(t.Context(), beside); !errors.Is(err, ErrClosed) {
		t.Errorf("defragment after close: %v", err)
	}
}
