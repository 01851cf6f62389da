package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/coordd/coordd/coordd/disk"
	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/testing/protocmp"
)

const dir = "/data/wal"

// small makes segments of a few frames, without a goroutine, so that a test's operations come in one order.
var small = options{segmentSize: headerSize + 512}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func entry(index, term uint64) *raftpb.Entry {
	data := fmt.Sprintf("entry %d of term %d", index, term)
	return &raftpb.Entry{Index: new(index), Term: new(term), Type: raftpb.EntryNormal.Enum(), Data: []byte(data)}
}

func entries(from, to, term uint64) []*raftpb.Entry {
	var list []*raftpb.Entry
	for i := from; i <= to; i++ {
		list = append(list, entry(i, term))
	}
	return list
}

func hardOf(term, vote, commit uint64) *raftpb.HardState {
	return hardState{term, vote, commit}.message()
}

func newLog(t testing.TB, fsys disk.FS, o options) *Log {
	t.Helper()
	l, err := create(fsys, dir, []byte("meta"), Position{}, nil, o)
	must(t, err)
	return l
}

func reopen(t testing.TB, l *Log) (*Log, *Recovered) {
	t.Helper()
	must(t, l.Close())
	next, r, err := open(l.fs, l.dir, l.options)
	must(t, err)
	return next, r
}

// recovered is what a Recovered of an undamaged log looks like.
func recovered(hs *raftpb.HardState, snap Position, list ...[]*raftpb.Entry) *Recovered {
	r := &Recovered{Metadata: []byte("meta"), HardState: hs, Snapshot: snap}
	for _, l := range list {
		r.Entries = append(r.Entries, l...)
	}
	return r
}

func diff(want, got *Recovered) string { return cmp.Diff(want, got, protocmp.Transform()) }

func wantRecovered(t testing.TB, got, want *Recovered) {
	t.Helper()
	if d := diff(want, got); d != "" {
		t.Errorf("recovered (-want +got):\n%s", d)
	}
}

// TestReopenAfterEveryStep goes through a member's life and restarts it at every turn.
func TestReopenAfterEveryStep(t *testing.T) {
	start := Position{Index: 10, Term: 2}
	snap := Position{Index: 40, Term: 5}
	steps := []struct {
		what string
		do   func(l *Log) error
		want *Recovered
	}{
		{"nothing", func(*Log) error { return nil }, recovered(hardOf(2, 1, 10), start)},
		{"entries", func(l *Log) error { return l.Save(nil, entries(11, 13, 2), true) },
			recovered(hardOf(2, 1, 10), start, entries(11, 13, 2))},
		{"a vote", func(l *Log) error { return l.Save(hardOf(3, 2, 10), nil, true) },
			recovered(hardOf(3, 2, 10), start, entries(11, 13, 2))},
		{"an empty hard state", func(l *Log) error { return l.Save(new(raftpb.HardState), entries(14, 14, 3), true) },
			recovered(hardOf(3, 2, 10), start, entries(11, 13, 2), entries(14, 14, 3))},
		{"a commit without sync", func(l *Log) error { return l.Save(hardOf(3, 2, 11), nil, false) },
			recovered(hardOf(3, 2, 11), start, entries(11, 13, 2), entries(14, 14, 3))},
		{"a new leader's entries", func(l *Log) error { return l.Save(hardOf(4, 3, 12), entries(13, 20, 4), true) },
			recovered(hardOf(4, 3, 12), start, entries(11, 12, 2), entries(13, 20, 4))},
		{"everything replaced", func(l *Log) error { return l.Save(nil, entries(11, 11, 5), true) },
			recovered(hardOf(4, 3, 12), start, entries(11, 11, 5))},
		{"a snapshot", func(l *Log) error { return l.SaveSnapshot(snap) },
			recovered(hardOf(4, 3, 40), snap)},
		{"entries after it", func(l *Log) error { return l.Save(hardOf(5, 0, 41), entries(41, 60, 5), true) },
			recovered(hardOf(5, 0, 41), snap, entries(41, 60, 5))},
	}
	for _, o := range []options{small, {segmentSize: 1 << 20, background: true}} {
		t.Run(fmt.Sprint(o.segmentSize), func(t *testing.T) {
			l, err := create(disk.NewMemory(), dir, []byte("meta"), start, hardOf(2, 1, 7), o)
			must(t, err)
			for _, step := range steps {
				must(t, step.do(l))
				var got *Recovered
				l, got = reopen(t, l)
				if d := diff(step.want, got); d != "" {
					t.Fatalf("%s (-want +got):\n%s", step.what, d)
				}
			}
			must(t, l.Close())
		})
	}
}

func TestOnOS(t *testing.T) {
	dir := path.Join(t.TempDir(), "wal")
	l, err := create(disk.OS(), dir, []byte("meta"), Position{}, nil, options{segmentSize: 64 << 10, background: true})
	must(t, err)
	for i := range uint64(200) {
		e := entry(i+1, 1)
		e.Data = []byte(strings.Repeat("x", 1000))
		must(t, l.Save(hardOf(1, 1, i), []*raftpb.Entry{e}, true))
	}
	must(t, l.Release(100))
	l, got := reopen(t, l)
	if len(got.Entries) < 100 || len(got.Entries) == 200 || got.Entries[len(got.Entries)-1].GetIndex() != 200 {
		t.Errorf("%d entries after %v", len(got.Entries), got.Snapshot)
	}
	must(t, l.Close())
}

func TestSaveDoesNotAllocate(t *testing.T) {
	l, err := create(disk.OS(), path.Join(t.TempDir(), "wal"), nil, Position{}, nil, options{segmentSize: 1 << 20})
	must(t, err)
	list, hs := entries(1, 10, 1), hardOf(1, 1, 0)
	allocs := testing.AllocsPerRun(20, func() {
		*hs.Commit = list[0].GetIndex() - 1
		must(t, l.Save(hs, list, true))
		for _, e := range list {
			*e.Index += uint64(len(list))
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations a Save", allocs)
	}
	must(t, l.Close())
}

func TestCreateAndExists(t *testing.T) {
	m := disk.NewMemory()
	if ok, err := Exists(m, dir); ok || err != nil {
		t.Errorf("exists: %v, %v before Create", ok, err)
	}
	if _, _, err := open(m, dir, small); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v, want ErrNotExist", err)
	}
	must(t, newLog(t, m, small).Close())
	if ok, err := Exists(m, dir); !ok || err != nil {
		t.Errorf("exists: %v, %v after Create", ok, err)
	}
	if _, err := create(m, dir, nil, Position{}, nil, small); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create: %v, want ErrExist", err)
	}
	if _, err := create(m, "/other", make([]byte, maxMetadata+1), Position{}, nil, small); err == nil {
		t.Error("too much metadata was taken")
	}
}

func TestSaveWithoutSyncWaitsForTheNext(t *testing.T) {
	m := disk.NewMemory()
	l := newLog(t, m, small)
	m.SetFault(func(op disk.Op) error {
		if op.Kind == disk.Write || op.Kind == disk.Sync {
			return errors.New("the disk was used")
		}
		return nil
	})
	must(t, l.Save(hardOf(1, 1, 0), entries(1, 2, 1), false))
	must(t, l.Save(hardOf(1, 1, 1), nil, false))
	var writes, syncs int
	m.SetFault(func(op disk.Op) error {
		switch op.Kind {
		case disk.Write:
			writes++
		case disk.Sync:
			syncs++
		}
		return nil
	})
	must(t, l.Save(nil, entries(3, 3, 1), true))
	if writes != 1 || syncs != 1 {
		t.Errorf("%d writes and %d syncs, want one of each", writes, syncs)
	}
	must(t, l.Save(hardOf(1, 1, 1), nil, true))
	if writes != 1 || syncs != 1 {
		t.Error("a save of nothing new used the disk")
	}
	_, got := reopen(t, l)
	wantRecovered(t, got, recovered(hardOf(1, 1, 1), Position{}, entries(1, 3, 1)))
}

func TestSaveLargerThanASegment(t *testing.T) {
	l := newLog(t, disk.NewMemory(), small)
	big := &raftpb.Entry{Index: new(uint64(2)), Term: new(uint64(1)), Type: raftpb.EntryNormal.Enum(), Data: bytes.Repeat([]byte{7}, 5<<20)}
	must(t, l.Save(nil, entries(1, 1, 1), true))
	must(t, l.Save(nil, []*raftpb.Entry{big}, true))
	must(t, l.Save(nil, entries(3, 3, 1), true))
	_, got := reopen(t, l)
	if len(got.Entries) == 3 && bytes.Equal(got.Entries[1].GetData(), big.GetData()) {
		got.Entries[1].Data, big.Data = nil, nil // too long for a readable difference
	}
	wantRecovered(t, got, recovered(hardOf(0, 0, 0), Position{}, entries(1, 1, 1), []*raftpb.Entry{big}, entries(3, 3, 1)))
}

func TestRelease(t *testing.T) {
	m := disk.NewMemory()
	l := newLog(t, m, small)
	for i := uint64(1); i <= 100; i++ {
		must(t, l.Save(hardOf(1, 1, i-1), entries(i, i, 1), true))
	}
	before, err := m.List(dir)
	must(t, err)
	for _, upTo := range []uint64{0, 1, 30, 31, 77, 100, 1000} {
		must(t, l.Release(upTo))
		var got *Recovered
		l, got = reopen(t, l)
		first := got.Snapshot.Index + 1
		if got.Snapshot.Index > min(upTo, 99) {
			t.Errorf("after Release(%d) the log starts at %d", upTo, first)
		}
		snap := Position{Index: first - 1}
		if first > 1 {
			snap.Term = 1
		}
		wantRecovered(t, got, recovered(hardOf(1, 1, 99), snap, entries(first, 100, 1)))
	}
	after, err := m.List(dir)
	must(t, err)
	if len(before) < 10 || len(after) != 1 {
		t.Errorf("%d segments before, %d after; want many and one", len(before), len(after))
	}
}

// TestReleaseUpToReplacedEntries releases a segment whose last entries were replaced in the next
// one, which says in its header that it begins after them.
func TestReleaseUpToReplacedEntries(t *testing.T) {
	l := newLog(t, disk.NewMemory(), small)
	must(t, l.Save(nil, entries(1, 7, 1), true))
	must(t, l.Save(hardOf(2, 1, 4), entries(5, 9, 2), true))
	must(t, l.Release(7))
	l, got := reopen(t, l)
	wantRecovered(t, got, recovered(hardOf(2, 1, 4), Position{Index: 5, Term: 2}, entries(6, 9, 2)))
	must(t, l.Save(nil, entries(10, 10, 2), true))
	must(t, l.Close())
}

func TestSnapshotVoidsOlderSegments(t *testing.T) {
	m := disk.NewMemory()
	l := newLog(t, m, small)
	for i := uint64(1); i <= 50; i++ {
		must(t, l.Save(nil, entries(i, i, 1), true))
	}
	p := Position{Index: 45, Term: 2}
	must(t, l.SaveSnapshot(p))
	l, got := reopen(t, l)
	wantRecovered(t, got, recovered(hardOf(0, 0, 45), p))
	must(t, l.Release(45))
	names, err := m.List(dir)
	must(t, err)
	if len(names) != 1 {
		t.Errorf("%d segments are left, want 1", len(names))
	}
	_, got = reopen(t, l)
	wantRecovered(t, got, recovered(hardOf(0, 0, 45), p))
}

func TestMisusePanics(t *testing.T) {
	for what, list := range map[string][]*raftpb.Entry{
		"gap":             entries(5, 5, 1),
		"before the base": entries(0, 0, 1),
		"not contiguous":  {entry(1, 1), entry(3, 1)},
	} {
		t.Run(what, func(t *testing.T) {
			l := newLog(t, disk.NewMemory(), small)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_ = l.Save(nil, list, true)
		})
	}
}

func TestFailureIsFinal(t *testing.T) {
	boom := errors.New("boom")
	for _, kind := range []disk.Kind{disk.Write, disk.Sync} {
		t.Run(kind.String(), func(t *testing.T) {
			m := disk.NewMemory()
			l := newLog(t, m, small)
			must(t, l.Save(nil, entries(1, 1, 1), true))
			m.SetFault(disk.FailNth(1, boom, func(op disk.Op) bool { return op.Kind == kind }))
			if err := l.Save(nil, entries(2, 2, 1), true); !errors.Is(err, boom) {
				t.Fatalf("save: %v, want boom", err)
			}
			m.SetFault(func(op disk.Op) error {
				if op.Kind == disk.Write || op.Kind == disk.Sync {
					t.Errorf("%v after the failure", op)
				}
				return nil
			})
			for what, err := range map[string]error{
				"save":     l.Save(nil, entries(3, 3, 1), true),
				"unsynced": l.Save(hardOf(1, 1, 1), nil, false),
				"snapshot": l.SaveSnapshot(Position{Index: 5, Term: 1}),
				"release":  l.Release(1),
			} {
				if !errors.Is(err, boom) {
					t.Errorf("%s: %v, want boom", what, err)
				}
			}
			must(t, l.Close())
			if err := l.Save(nil, nil, true); !errors.Is(err, ErrClosed) {
				t.Errorf("save after close: %v", err)
			}
		})
	}
}

// TestFullDiskMayRecoverBeforeTheRoll fails the background preparation once; the roll tries again.
func TestFullDiskMayRecoverBeforeTheRoll(t *testing.T) {
	m := disk.NewMemory()
	l := newLog(t, m, options{segmentSize: small.segmentSize, background: true})
	m.SetFault(disk.FailNth(1, errors.New("no space"), func(op disk.Op) bool { return op.Kind == disk.Create }))
	for i := uint64(1); i <= 50; i++ {
		must(t, l.Save(nil, entries(i, i, 1), true))
	}
	_, got := reopen(t, l)
	wantRecovered(t, got, recovered(hardOf(0, 0, 0), Position{}, entries(1, 50, 1)))
}

func TestCloseLeavesNoUnfinishedSegment(t *testing.T) {
	m := disk.NewMemory()
	l := newLog(t, m, options{segmentSize: 8 << 20, background: true})
	must(t, l.Save(nil, []*raftpb.Entry{{Index: new(uint64(1)), Term: new(uint64(1)), Data: make([]byte, 5<<20)}}, true))
	must(t, l.Close())
	names, err := m.List(dir)
	must(t, err)
	if len(names) != 1 {
		t.Errorf("left %q", names)
	}
}
