package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"time"

	"github.com/coordd/coordd/coordd/disk"
	"go.etcd.io/raft/v3/raftpb"
)

var (
	// ErrCorrupt says that the log holds damage that no crash can have caused. The error names file and offset.
	ErrCorrupt = errors.New("wal: corrupt")
	// ErrClosed is returned by a Log after Close.
	ErrClosed = errors.New("wal: closed")
)

const (
	defaultSegmentSize = 64 << 20 // bytes
	// maxUnsynced bounds, in bytes, what Save keeps in memory unasked to sync.
	maxUnsynced = 1 << 20
	// maxIdleBuffer is the largest buffer, in bytes, that is kept for the next Save.
	maxIdleBuffer = 4 << 20
)

// Position is a place in the log: an entry's index and term. The zero Position is before the first entry.
type Position struct{ Index, Term uint64 }

// Log is an open write-ahead log. Its methods are safe for concurrent use; those that write take turns,
// and Release only hinders Save for as long as it takes to pick what to delete.
//
// An error of a write or a sync is final: every later call returns it, for nobody
// knows what the disk holds until it is read again.
type Log struct {
	fs      disk.FS
	dir     string
	options options
	metrics metrics
	spare   *preparer

	releasing sync.Mutex // held by Release and Close, taken before mu

	mu       sync.Mutex
	err      error // final
	file     disk.File
	name     string  // path of file
	header   *header // of the active segment
	framing  framing
	end      int64         // bytes of the active segment in use
	number   uint64        // of the next frame
	chain    uint32        // of the last frame
	segments []segmentInfo // oldest first, the active one last
	// written is what the frames on disk say, pending what they will say with the next one.
	written, pending state
	buf              []byte // the next frame: room for its header, then the records so far
}

// state is what the log has come to at some point.
type state struct {
	hard hardState
	base Position // the log starts after it; entries at or below it are not saved again
	last Position // of the last entry, base if there is none
}

// segmentInfo is what Release needs to know of a segment.
type segmentInfo struct {
	name string // path
	last uint64 // no entry in it has a higher index, or none that is still of use
}

type options struct {
	segmentSize int64 // bytes
	background  bool  // make the next segment ahead of need
}

func defaultOptions() options { return options{segmentSize: defaultSegmentSize, background: true} }

// Create makes a log in dir, which is made if missing, that starts after snap with the HardState
// hs; nil is the empty one. It is durable when Create returns. Metadata, 3992 bytes at most, comes
// back from every Open. A dir that holds a log already is an error that matches [fs.ErrExist]. The
// caller sees to it that one process at a time uses dir.
func Create(fs disk.FS, dir string, metadata []byte, snap Position, hs *raftpb.HardState) (*Log, error) {
	return create(fs, dir, metadata, snap, hs, defaultOptions())
}

func create(fsys disk.FS, dir string, metadata []byte, snap Position, hs *raftpb.HardState, o options) (*Log, error) {
	if len(metadata) > maxMetadata {
		return nil, fmt.Errorf("wal: %d bytes of metadata, limit %d", len(metadata), maxMetadata)
	}
	exists, err := Exists(fsys, dir)
	if err != nil {
		return nil, err
	}
	if exists {
		return nil, fmt.Errorf("wal: create in %s: %w", dir, fs.ErrExist)
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("wal: create: %w", err)
	}
	if err := removeUnfinished(fsys, dir); err != nil {
		return nil, err
	}
	var salt [8]byte
	rand.Read(salt[:])
	hard := stateOf(hs)
	hard.commit = max(hard.commit, snap.Index)
	h := &header{
		salt:     binary.LittleEndian.Uint64(salt[:]),
		sequence: 1,
		size:     o.segmentSize,
		number:   1,
		before:   snap,
		state:    hard,
		metadata: metadata,
	}
	s := state{hard: hard, base: snap, last: snap}
	l := &Log{fs: fsys, dir: dir, options: o, metrics: newMetrics(), header: h, number: 1, written: s, pending: s}
	made := prepare(fsys, dir, h.sequence, h.size, nil)
	if made.err != nil {
		return nil, made.err
	}
	if err := l.activate(made, h); err != nil {
		return nil, errors.Join(err, made.file.Close())
	}
	l.start()
	return l, nil
}

// Exists reports whether dir holds a log, whole or damaged.
func Exists(fsys disk.FS, dir string) (bool, error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("wal: list segments: %w", err)
	}
	for _, name := range names {
		if path.Ext(name) == segmentExt {
			return true, nil
		}
	}
	return false, nil
}

// Save adds entries and, unless it is nil or empty, a new HardState. With sync they are durable
// when it returns nil, and everything saved before with them. Without, they wait in memory to be
// written together with the next Save that syncs, or Close, and a crash of the process may lose
// them: fit for a commit index that moved, which Raft need not remember, or for several saves that
// one sync shall acknowledge.
//
// Entries are contiguous, and begin at most one above the last entry; those saved before from their
// first index on are replaced. Anything else is the caller's bug and panics. Save keeps no
// reference to its arguments.
func (l *Log) Save(hs *raftpb.HardState, entries []*raftpb.Entry, sync bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if len(entries) > 0 {
		l.checkContiguous(entries)
		l.reserve()
		for _, e := range entries {
			l.buf = appendEntry(l.buf, e)
		}
		last := entries[len(entries)-1]
		l.pending.last = Position{Index: last.GetIndex(), Term: last.GetTerm()}
	}
	if hard := stateOf(hs); hard != (hardState{}) {
		l.pending.hard = hard
	}
	if !sync && len(l.buf) < maxUnsynced {
		return nil
	}
	return l.flush()
}

func (l *Log) checkContiguous(entries []*raftpb.Entry) {
	first := entries[0].GetIndex()
	if first <= l.pending.base.Index || first > l.pending.last.Index+1 {
		panic(fmt.Sprintf("wal: save from index %d on a log of (%d, %d]", first, l.pending.base.Index, l.pending.last.Index))
	}
	for i, e := range entries {
		if e.GetIndex() != first+uint64(i) {
			panic(fmt.Sprintf("wal: save of index %d after %d", e.GetIndex(), first+uint64(i)-1))
		}
	}
}

// SaveSnapshot records that a snapshot at p was installed in place of the log: all entries are void
// and the next one is p.Index+1. It raises the commit index to p.Index, and is durable when it
// returns nil. The snapshot itself must be durable before.
func (l *Log) SaveSnapshot(p Position) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if p.Index < l.pending.base.Index {
		panic(fmt.Sprintf("wal: snapshot at index %d on a log that starts after %d", p.Index, l.pending.base.Index))
	}
	l.reserve()
	l.buf = appendSnapshot(l.buf, p)
	l.pending.base, l.pending.last = p, p
	l.pending.hard.commit = max(l.pending.hard.commit, p.Index)
	if err := l.flush(); err != nil {
		return err
	}
	for i := range l.segments {
		l.segments[i].last = min(l.segments[i].last, p.Index)
	}
	return nil
}

// reserve makes room for a frame header at the start of an empty buffer.
func (l *Log) reserve() {
	if len(l.buf) == 0 {
		l.buf = append(l.buf, make([]byte, frameHeader)...)
	}
}

// flush writes what is pending as one frame and syncs it.
func (l *Log) flush() error {
	if l.pending.hard != l.written.hard {
		l.reserve()
		l.buf = appendState(l.buf, l.pending.hard)
	}
	if len(l.buf) == 0 {
		return nil
	}
	if err := l.writeFrame(); err != nil {
		l.err = err
		return err
	}
	active := &l.segments[len(l.segments)-1]
	active.last = max(active.last, l.pending.last.Index)
	l.written = l.pending
	l.buf = l.buf[:0]
	if cap(l.buf) > maxIdleBuffer {
		l.buf = nil
	}
	if l.end > l.header.size/2 {
		l.spare.request(l.header.sequence + 1)
	}
	return nil
}

func (l *Log) writeFrame() error {
	length := len(l.buf) - frameHeader
	var zeros [alignment]byte
	l.buf = append(l.buf, zeros[:pad(length)-length]...)
	size := int64(len(l.buf))
	if size > maxFrame {
		return fmt.Errorf("wal: save of %d bytes, limit %d", size, maxFrame)
	}
	if l.end+size > l.header.size {
		if err := l.roll(size); err != nil {
			return err
		}
	}
	chain := l.framing.seal(l.buf, l.end, l.number, length, l.chain)
	begin := time.Now()
	if _, err := l.file.WriteAt(l.buf, l.end); err != nil {
		return fmt.Errorf("wal: append to %s: %w", l.name, err)
	}
	written := time.Now()
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("wal: append to %s: %w", l.name, err)
	}
	l.metrics.wrote(size, begin, written, time.Now())
	l.chain = chain
	l.end += size
	l.number++
	return nil
}

// Release deletes the segments, from the oldest on, that hold only entries at or below index, which
// must be applied and durable elsewhere. The active segment stays. Its errors are not final: a
// segment that could not be deleted is tried again by the next Release.
func (l *Log) Release(index uint64) error {
	l.releasing.Lock()
	defer l.releasing.Unlock()
	for {
		name, err := l.releasable(index)
		if err != nil || name == "" {
			return err
		}
		if err := l.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("wal: release: %w", err)
		}
		// One by one: a crash must not bring back an older segment without those after it.
		if err := l.fs.SyncDir(l.dir); err != nil {
			return fmt.Errorf("wal: release: %w", err)
		}
		l.mu.Lock()
		l.segments = l.segments[1:]
		l.mu.Unlock()
	}
}

// releasable returns the path of the oldest segment if it can go.
func (l *Log) releasable(index uint64) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return "", l.err
	}
	if oldest := l.segments[0]; len(l.segments) > 1 && oldest.last <= index {
		return oldest.name, nil
	}
	return "", nil
}

// Close makes durable what was saved without sync and closes the log. A log that failed is closed
// without a further write. A second Close returns ErrClosed.
func (l *Log) Close() error {
	l.releasing.Lock()
	defer l.releasing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.err, ErrClosed) {
		return ErrClosed
	}
	var flushErr error
	if l.err == nil {
		flushErr = l.flush()
	}
	l.err = ErrClosed
	return errors.Join(flushErr, l.spare.stop(), l.file.Close())
}

// start begins the background work of a log that is ready for use.
func (l *Log) start() { l.spare = startPreparer(l.fs, l.dir, l.options) }
