package snap_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"path"
	"slices"
	"testing"

	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/snap"
)

const dir = "/data/member/snap"

var position = snap.Position{Index: 0x2a, Term: 3}

func open(t *testing.T, fs disk.FS) *snap.Dir {
	t.Helper()
	d, err := snap.Open(fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// receive takes a whole store in two pieces.
func receive(d *snap.Dir, p snap.Position, content []byte) error {
	return receiveKind(d, p, snap.Whole, content)
}

func receiveKind(d *snap.Dir, p snap.Position, kind snap.Kind, content []byte) error {
	r, err := d.Receive()
	if err != nil {
		return err
	}
	defer r.Abort()
	half := len(content) / 2
	for _, piece := range [][]byte{content[:half], content[half:]} {
		if _, err := r.Write(piece); err != nil {
			return err
		}
	}
	sum := sha256.Sum256(content)
	return r.Commit(p, kind, sum[:])
}

func write(t *testing.T, fs disk.FS, name string, content []byte) {
	t.Helper()
	f, err := fs.Create(path.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), fs.SyncDir(dir)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, fs disk.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(path.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func names(t *testing.T, fs disk.FS) []string {
	t.Helper()
	list, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestReceiveAndInstall(t *testing.T) {
	fs := disk.NewMemory()
	d := open(t, fs)
	write(t, fs, "db", []byte("old"))
	if err := receive(d, position, []byte("the new store")); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, fs), []string{"0000000000000003-000000000000002a.snap.db", "db"}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if kind, err := d.Pending(position); kind != snap.Whole || err != nil {
		t.Errorf("pending: %v, %v", kind, err)
	}
	if kind, _ := d.Pending(snap.Position{Index: position.Index, Term: position.Term + 1}); kind != snap.None {
		t.Error("another position is pending")
	}
	if err := d.Install(position); err != nil {
		t.Fatal(err)
	}
	if got := read(t, fs, "db"); string(got) != "the new store" {
		t.Errorf("the store holds %q", got)
	}
	if got := names(t, fs); !slices.Equal(got, []string{"db"}) {
		t.Errorf("files %q", got)
	}
	if err := d.Install(position); !errors.Is(err, snap.ErrNotReceived) {
		t.Errorf("installing again gives %v", err)
	}
}

func TestReceiverRefuses(t *testing.T) {
	fs := disk.NewMemory()
	d := open(t, fs)
	sum := sha256.Sum256([]byte("store"))
	for _, tc := range []struct {
		content string
		sum     []byte
		want    error
	}{
		{"stor", sum[:], snap.ErrChecksum},
		{"store", sum[:31], snap.ErrChecksum},
		{"store", nil, snap.ErrChecksum},
		{"", sum[:], snap.ErrEmpty},
	} {
		r, err := d.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Write([]byte(tc.content)); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(position, snap.Whole, tc.sum); !errors.Is(err, tc.want) {
			t.Errorf("%q with the sum %x gives %v, want %v", tc.content, tc.sum, err, tc.want)
		}
		if _, err := r.Write([]byte("more")); !errors.Is(err, snap.ErrFinished) {
			t.Errorf("writing after Commit gives %v", err)
		}
		if err := r.Commit(position, snap.Whole, sum[:]); !errors.Is(err, snap.ErrFinished) {
			t.Errorf("a second Commit gives %v", err)
		}
	}
	if got := names(t, fs); len(got) > 0 {
		t.Errorf("files %q stay", got)
	}
}

func TestAbort(t *testing.T) {
	fs := disk.NewMemory()
	d := open(t, fs)
	r, err := d.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Abort(), r.Abort()); err != nil {
		t.Error(err)
	}
	if got := names(t, fs); len(got) > 0 {
		t.Errorf("files %q stay", got)
	}
}

func TestCleanAndDiscard(t *testing.T) {
	fs := disk.NewMemory()
	d := open(t, fs)
	write(t, fs, "receive-1.tmp", []byte("left"))
	for _, foreign := range []string{"db", "notes.tmp", "1-2.snap.db"} {
		write(t, fs, foreign, []byte("x"))
	}
	receiving, err := d.Receive()
	if err != nil {
		t.Fatal(err)
	}
	defer receiving.Abort()
	later := snap.Position{Index: position.Index + 1, Term: 3}
	for _, p := range []snap.Position{position, later} {
		if err := receive(d, p, []byte("store")); err != nil {
			t.Fatal(err)
		}
	}
	if err := receiveKind(d, later, snap.Delta, []byte("delta")); err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(later); err != nil {
		t.Fatal(err)
	}
	want := []string{"0000000000000003-000000000000002a.snap.db", "1-2.snap.db", "db", "notes.tmp", "receive-1.tmp", "receive-2.tmp"}
	if got := names(t, fs); !slices.Equal(got, want) {
		t.Errorf("files after Discard %q, want %q", got, want)
	}
	if err := errors.Join(receiveKind(d, later, snap.Delta, []byte("delta")), d.Clean()); err != nil {
		t.Fatal(err)
	}
	want = []string{"1-2.snap.db", "db", "notes.tmp", "receive-2.tmp"}
	if got := names(t, fs); !slices.Equal(got, want) {
		t.Errorf("files after Clean %q, want %q", got, want)
	}
}

func TestDelta(t *testing.T) {
	fs := disk.NewMemory()
	d := open(t, fs)
	if _, err := d.OpenDelta(position); !errors.Is(err, snap.ErrNotReceived) {
		t.Errorf("opening what is not there gives %v", err)
	}
	later := snap.Position{Index: position.Index + 1, Term: 3}
	for _, p := range []snap.Position{position, later} {
		if err := receiveKind(d, p, snap.Delta, []byte("what it lacks")); err != nil {
			t.Fatal(err)
		}
	}
	if kind, err := d.Pending(position); kind != snap.Delta || err != nil {
		t.Errorf("pending: %v, %v", kind, err)
	}
	file, err := d.OpenDelta(position)
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, len("what it lacks"))
	if _, err := file.ReadAt(content, 0); err != nil || string(content) != "what it lacks" {
		t.Errorf("the delta holds %q, %v", content, err)
	}
	if err := errors.Join(file.Close(), d.Finish(position)); err != nil {
		t.Fatal(err)
	}
	if kind, _ := d.Pending(position); kind != snap.None {
		t.Error("pending after Finish")
	}
	if kind, _ := d.Pending(later); kind != snap.Delta {
		t.Error("the later one is gone")
	}
}

func TestInstallRemovesWhatItOvertakes(t *testing.T) {
	fs := disk.NewMemory()
	d := open(t, fs)
	earlier := snap.Position{Index: position.Index - 1, Term: 3}
	later := snap.Position{Index: position.Index + 1, Term: 3}
	for _, p := range []snap.Position{earlier, position, later} {
		if err := receive(d, p, []byte("store")); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Install(position); err != nil {
		t.Fatal(err)
	}
	if kind, _ := d.Pending(earlier); kind != snap.None {
		t.Error("the earlier one stays")
	}
	if kind, _ := d.Pending(later); kind != snap.Whole {
		t.Error("the later one is gone")
	}
}

// Power fails at each operation in turn. Afterwards the store is the old one
// or the whole new one, and what is pending is whole.
func TestCrashAtEveryOperation(t *testing.T) {
	oldStore := bytes.Repeat([]byte("old "), 500)
	newStore := bytes.Repeat([]byte("new! "), 1000)
	outcomes := map[string]int{}
	for seed := range uint64(8) {
		for n, finished := 1, false; !finished; n++ {
			fs := disk.NewMemory()
			d := open(t, fs)
			write(t, fs, "db", oldStore)
			fs.SetFault(powerFailsAt(n))
			committed := receive(d, position, newStore) == nil
			installed := committed && d.Install(position) == nil
			fs.Crash(seed)
			finished = installed

			d = open(t, fs)
			pending, err := d.Pending(position)
			if err != nil {
				t.Fatal(err)
			}
			store := read(t, fs, "db")
			switch {
			case bytes.Equal(store, newStore):
				if !committed {
					t.Fatalf("seed %d, operation %d: a store that was not committed is installed", seed, n)
				}
				outcomes["new"]++
			case !bytes.Equal(store, oldStore):
				t.Fatalf("seed %d, operation %d: the store is neither the old nor the new one", seed, n)
			case installed:
				t.Fatalf("seed %d, operation %d: the installed store is gone", seed, n)
			case committed && pending != snap.Whole:
				t.Fatalf("seed %d, operation %d: the committed store is gone", seed, n)
			case pending == snap.Whole:
				outcomes["pending"]++
				if err := d.Install(position); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(read(t, fs, "db"), newStore) {
					t.Fatalf("seed %d, operation %d: the pending store is not whole", seed, n)
				}
			default:
				outcomes["old"]++
			}
			if err := d.Clean(); err != nil {
				t.Fatal(err)
			}
			if got := names(t, fs); !slices.Equal(got, []string{"db"}) {
				t.Fatalf("seed %d, operation %d: files %q after Clean", seed, n, got)
			}
		}
	}
	for _, outcome := range []string{"old", "pending", "new"} {
		if outcomes[outcome] == 0 {
			t.Errorf("no crash left the store %s: %v", outcome, outcomes)
		}
	}
}

// powerFailsAt lets n-1 operations pass and fails all from the n-th on.
func powerFailsAt(n int) func(disk.Op) error {
	return func(disk.Op) error {
		if n--; n <= 0 {
			return errors.New("no power")
		}
		return nil
	}
}
