// Package snap keeps the directory of a member's store and of the snapshots it
// receives from its leader.
//
//	<dir>/db                                     the store
//	<dir>/<term>-<index>.snap.db                 a received store, whole and durable (16 hex digits each)
//	<dir>/<term>-<index>.delta                   the same, but only what db lacks
//	<dir>/receive-<number>.tmp                   either, being received: worth nothing after a restart
//
// What is received appears under its own name only once its checksum was right
// and its bytes are durable. A whole store replaces db by a rename: after a crash at any
// moment there is the old db or the whole new one. A delta is merged into db by
// whoever owns that, and goes once this is done: see kvcore.MergeDelta.
//
// The order that makes an installation safe: [Receiver.Commit], then the log
// records that it restarts after the position, then [Dir.Install], or a merge of
// [Dir.OpenDelta] and [Dir.Finish]. A member that finds the log ahead of its store at start
// asks [Dir.Pending] and installs then.
package snap

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/coordd/coordd/coordd/disk"
)

const (
	storeName      = "db"
	receivedSuffix = ".snap.db"
	deltaSuffix    = ".delta"
	partialSuffix  = ".tmp"
)

// Kind is what a received file holds.
type Kind uint8

// The kinds. None is no file.
const (
	None Kind = iota
	Whole
	Delta
)

var suffixes = [...]string{Whole: receivedSuffix, Delta: deltaSuffix}

// ErrNotReceived says that no complete snapshot of the position is here.
var ErrNotReceived = errors.New("snap: no received snapshot of this position")

// Position is a place in the raft log: the state after the entry Index, which has the term Term.
type Position struct{ Index, Term uint64 }

func (p Position) String() string { return fmt.Sprintf("term %d index %d", p.Term, p.Index) }

// Dir is the directory. It is safe for concurrent use.
type Dir struct {
	fs  disk.FS
	dir string

	mu       sync.Mutex
	received int             // numbers the temporary files
	open     map[string]bool // temporary files with a Receiver
}

// Open makes the directory if it is missing and leaves its content alone.
func Open(fs disk.FS, dir string) (*Dir, error) {
	if err := fs.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("snap: make directory %s: %w", dir, err)
	}
	return &Dir{fs: fs, dir: dir, open: map[string]bool{}}, nil
}

// Store is the path of the member's store.
func (d *Dir) Store() string { return path.Join(d.dir, storeName) }

// Pending says what the received snapshot of p is that waits to be installed.
// Where both kinds are here, either will do.
func (d *Dir) Pending(p Position) (Kind, error) {
	names, err := d.list()
	if err != nil {
		return None, err
	}
	for _, kind := range []Kind{Whole, Delta} {
		if slices.Contains(names, receivedName(p, kind)) {
			return kind, nil
		}
	}
	return None, nil
}

// Install moves the received whole store of p to [Dir.Store], in place of what is
// there, and removes received snapshots that p makes useless. It is durable on
// return. [ErrNotReceived] if there is none. An open store keeps its old file.
func (d *Dir) Install(p Position) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := receivedName(p, Whole)
	err := d.fs.Rename(path.Join(d.dir, name), d.Store())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s in %s", ErrNotReceived, p, d.dir)
	}
	if err != nil {
		return fmt.Errorf("snap: install %s: %w", name, err)
	}
	if err := d.fs.SyncDir(d.dir); err != nil {
		return fmt.Errorf("snap: sync directory %s: %w", d.dir, err)
	}
	return d.finish(p)
}

// OpenDelta opens the received delta of p. [ErrNotReceived] if there is none.
func (d *Dir) OpenDelta(p Position) (disk.File, error) {
	name := receivedName(p, Delta)
	file, err := d.fs.Open(path.Join(d.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s in %s", ErrNotReceived, p, d.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("snap: open %s: %w", name, err)
	}
	return file, nil
}

// Finish removes the received snapshots that are of no use once p is installed:
// those of p and of earlier places. A merged delta is among them.
func (d *Dir) Finish(p Position) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.finish(p)
}

func (d *Dir) finish(p Position) error {
	return d.removeIf(func(name string) bool {
		other, ok := parseReceived(name)
		return ok && other.Index <= p.Index
	})
}

// Discard removes the received snapshots of p, which raft did not want. It is no
// error if there is none.
func (d *Dir) Discard(p Position) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.removeIf(func(name string) bool {
		other, ok := parseReceived(name)
		return ok && other == p
	})
}

// Clean removes what earlier runs left: temporary files, and received snapshots.
// Call it at start, when what was pending is installed. Files being received now and
// files of other names stay.
func (d *Dir) Clean() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.removeIf(func(name string) bool {
		if _, ok := parsePartial(name); ok {
			return !d.open[name]
		}
		_, ok := parseReceived(name)
		return ok
	})
}

// removeIf removes the files that match. A removal need not be durable: a file
// that comes back after a crash is as useless as before.
func (d *Dir) removeIf(match func(name string) bool) error {
	names, err := d.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !match(name) {
			continue
		}
		if err := d.fs.Remove(path.Join(d.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("snap: remove %s: %w", name, err)
		}
	}
	return nil
}

func (d *Dir) list() ([]string, error) {
	names, err := d.fs.List(d.dir)
	if err != nil {
		return nil, fmt.Errorf("snap: list %s: %w", d.dir, err)
	}
	return names, nil
}

func receivedName(p Position, kind Kind) string {
	return fmt.Sprintf("%016x-%016x%s", p.Term, p.Index, suffixes[kind])
}

// ParseReceived returns the position that the name of a received store tells.
func ParseReceived(name string) (p Position, ok bool) { return parseReceived(name) }

// IsPartial tells the file of a store that is being received, by its name.
func IsPartial(name string) bool {
	_, ok := parsePartial(name)
	return ok
}

func parseReceived(name string) (p Position, ok bool) {
	for _, kind := range []Kind{Whole, Delta} {
		if _, err := fmt.Sscanf(name, "%016x-%016x"+suffixes[kind], &p.Term, &p.Index); err == nil && receivedName(p, kind) == name {
			return p, true
		}
	}
	return Position{}, false
}

func partialName(number int) string { return fmt.Sprintf("receive-%d%s", number, partialSuffix) }

func parsePartial(name string) (number int, ok bool) {
	if !strings.HasSuffix(name, partialSuffix) {
		return 0, false
	}
	if _, err := fmt.Sscanf(name, "receive-%d"+partialSuffix, &number); err != nil {
		return 0, false
	}
	return number, partialName(number) == name
}
