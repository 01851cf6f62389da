package disk

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"testing"
)

// TestContract holds both file systems to what FS and File promise.
func TestContract(t *testing.T) {
	systems := map[string]func(t *testing.T) (FS, string){
		"os": func(t *testing.T) (FS, string) { return OS(), t.TempDir() },
		"memory": func(t *testing.T) (FS, string) {
			return NewMemory(), "/"
		},
	}
	for name, open := range systems {
		t.Run(name, func(t *testing.T) {
			for name, test := range contract {
				t.Run(name, func(t *testing.T) {
					f, root := open(t)
					dir := path.Join(root, "a", "b")
					if err := f.MkdirAll(dir); err != nil {
						t.Fatal(err)
					}
					test(t, f, dir)
				})
			}
		})
	}
}

var contract = map[string]func(t *testing.T, f FS, dir string){
	"files":  contractFiles,
	"names":  contractNames,
	"locks":  contractLocks,
	"errors": contractErrors,
}

func contractFiles(t *testing.T, f FS, dir string) {
	name := path.Join(dir, "x")
	file := create(t, f, name)
	write(t, file, "hello", 3)
	wantSize(t, file, 8)
	wantContent(t, file, "\x00\x00\x00hello")
	must(t, file.Truncate(5))
	must(t, file.Truncate(7))
	wantContent(t, file, "\x00\x00\x00he\x00\x00")
	if n, err := file.ReadAt(make([]byte, 4), 5); n != 2 || err != io.EOF {
		t.Errorf("read over the end: %d, %v; want 2, EOF", n, err)
	}
	if n, err := file.ReadAt(make([]byte, 1), 7); n != 0 || err != io.EOF {
		t.Errorf("read at the end: %d, %v; want 0, EOF", n, err)
	}
	must(t, file.Sync())
	must(t, file.Close())
	if _, err := file.WriteAt([]byte("x"), 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	again := open(t, f, name)
	wantContent(t, again, "\x00\x00\x00he\x00\x00")
	write(t, again, "w", 0)
	wantContent(t, again, "w\x00\x00he\x00\x00")
	must(t, again.Close())
}

func contractNames(t *testing.T, f FS, dir string) {
	one, two := path.Join(dir, "one"), path.Join(dir, "two")
	file := create(t, f, one)
	write(t, file, "1", 0)
	must(t, create(t, f, two).Close())
	wantNames(t, f, dir, "one", "two")
	must(t, f.Rename(one, two))
	wantNames(t, f, dir, "two")
	write(t, file, "2", 1)
	moved := open(t, f, two)
	wantContent(t, moved, "12")
	must(t, f.Remove(two))
	wantNames(t, f, dir)
	wantContent(t, moved, "12")
	must(t, file.Close())
	must(t, moved.Close())
	must(t, f.SyncDir(dir))
	must(t, f.MkdirAll(dir))
	must(t, f.Remove(dir))
	wantNames(t, f, path.Dir(dir))
}

func contractLocks(t *testing.T, f FS, dir string) {
	name := path.Join(dir, "lock")
	held, err := f.Lock(name)
	must(t, err)
	if _, err := f.Lock(name); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v, want ErrLocked", err)
	}
	must(t, held.Close())
	held, err = f.Lock(name)
	must(t, err)
	must(t, held.Close())
}

func contractErrors(t *testing.T, f FS, dir string) {
	name, missing := path.Join(dir, "x"), path.Join(dir, "missing")
	must(t, create(t, f, name).Close())
	_, createExisting := f.Create(name)
	_, createOrphan := f.Create(path.Join(missing, "x"))
	_, openMissing := f.Open(missing)
	_, listMissing := f.List(missing)
	for _, c := range []struct {
		what      string
		got, want error
	}{
		{"create existing", createExisting, fs.ErrExist},
		{"create without directory", createOrphan, fs.ErrNotExist},
		{"open missing", openMissing, fs.ErrNotExist},
		{"list missing", listMissing, fs.ErrNotExist},
		{"remove missing", f.Remove(missing), fs.ErrNotExist},
		{"rename missing", f.Rename(missing, name), fs.ErrNotExist},
		{"sync missing directory", f.SyncDir(missing), fs.ErrNotExist},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	if f.Remove(dir) == nil {
		t.Error("a directory that is not empty was removed")
	}
	if f.MkdirAll(path.Join(name, "y")) == nil {
		t.Error("a directory was made inside a file")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, f FS, name string) File {
	t.Helper()
	file, err := f.Create(name)
	must(t, err)
	return file
}

func open(t testing.TB, f FS, name string) File {
	t.Helper()
	file, err := f.Open(name)
	must(t, err)
	return file
}

func write(t testing.TB, file File, s string, off int64) {
	t.Helper()
	if n, err := file.WriteAt([]byte(s), off); n != len(s) || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
}

func content(t testing.TB, file File) []byte {
	t.Helper()
	size, err := file.Size()
	must(t, err)
	b := make([]byte, size)
	if n, err := file.ReadAt(b, 0); n != len(b) || err != nil && err != io.EOF {
		t.Fatalf("read: %d, %v", n, err)
	}
	return b
}

func wantContent(t testing.TB, file File, want string) {
	t.Helper()
	if got := content(t, file); !bytes.Equal(got, []byte(want)) {
		t.Errorf("content %q, want %q", got, want)
	}
}

func wantSize(t testing.TB, file File, want int64) {
	t.Helper()
	if got, err := file.Size(); err != nil || got != want {
		t.Errorf("size %d, %v; want %d", got, err, want)
	}
}

func wantNames(t testing.TB, f FS, dir string, want ...string) {
	t.Helper()
	got, err := f.List(dir)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
}
