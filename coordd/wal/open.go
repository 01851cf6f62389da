package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/coordd/coordd/coordd/disk"
	"go.etcd.io/raft/v3/raftpb"
)

// Recovered is what a log held when it was opened.
type Recovered struct {
	Metadata  []byte
	HardState *raftpb.HardState // never nil
	// Snapshot is where the log starts: the last snapshot saved, or, once segments before it were released,
	// the entry before the first one left.
	Snapshot Position
	// Entries follow Snapshot without a gap.
	Entries []*raftpb.Entry
	// TornBytes is the length of what an interrupted write had left behind the last whole frame, now zeroed.
	TornBytes int64
}

// Open reads the log in dir and makes it ready for more. It repairs what a crash can leave, and
// refuses anything else with [ErrCorrupt]. A dir without a log is an error that matches
// [fs.ErrNotExist]. It reads each segment whole, and holds one in memory at a time besides the
// entries. The caller sees to it that one process at a time uses dir.
func Open(fs disk.FS, dir string) (*Log, *Recovered, error) {
	return open(fs, dir, defaultOptions())
}

func open(fsys disk.FS, dir string, o options) (*Log, *Recovered, error) {
	names, err := segmentNames(fsys, dir)
	if err != nil {
		return nil, nil, err
	}
	if err := removeUnfinished(fsys, dir); err != nil {
		return nil, nil, err
	}
	r := &reader{log: &Log{fs: fsys, dir: dir, options: o, metrics: newMetrics()}}
	for i, name := range names {
		if err := r.segment(path.Join(dir, name), i == len(names)-1); err != nil {
			return nil, nil, err
		}
	}
	r.log.pending = state{hard: r.hard, base: r.base, last: r.last()}
	r.log.written = r.log.pending
	r.log.start()
	return r.log, &Recovered{
		Metadata:  bytes.Clone(r.log.header.metadata),
		HardState: r.hard.message(),
		Snapshot:  r.base,
		Entries:   r.entries,
		TornBytes: r.torn,
	}, nil
}

// segmentNames lists the segments in order and checks that none is missing between the first and the last.
func segmentNames(fsys disk.FS, dir string) ([]string, error) {
	all, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("wal: list segments: %w", err)
	}
	return pickSegments(all, dir)
}

// pickSegments is segmentNames for a directory's sorted content.
func pickSegments(all []string, dir string) ([]string, error) {
	var names []string
	var previous uint64
	for _, name := range all {
		if path.Ext(name) != segmentExt {
			continue
		}
		sequence, _, ok := parseSegmentName(name)
		if !ok {
			return nil, corrupt(path.Join(dir, name), 0, "not a segment's name")
		}
		if len(names) > 0 && sequence != previous+1 {
			return nil, corrupt(path.Join(dir, name), 0, "sequence %d follows %d", sequence, previous)
		}
		previous = sequence
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("wal: no segment in %s: %w", dir, fs.ErrNotExist)
	}
	return names, nil
}

func corrupt(name string, offset int64, format string, args ...any) error {
	return fmt.Errorf("%w: %s: offset %d: %s", ErrCorrupt, name, offset, fmt.Sprintf(format, args...))
}

// reader replays segments in order into log and into what Open reports.
type reader struct {
	log  *Log
	hard hardState
	base Position
	// rebased is false until a snapshot record fixes base, if the first segment is not the log's
	// first: base is then the last entry before it, which a new leader may have replaced by entries
	// in it.
	rebased bool
	entries []*raftpb.Entry
	torn    int64
	stopped error // why there is no whole frame at log.end
	buf     []byte
	visit   func(record) // nil but for Inspect; entries keep no data then
}

func (r *reader) last() Position {
	if len(r.entries) == 0 {
		return r.base
	}
	e := r.entries[len(r.entries)-1]
	return Position{Index: e.GetIndex(), Term: e.GetTerm()}
}

// segment replays one file; the last one becomes the active segment.
func (r *reader) segment(name string, last bool) error {
	file, err := r.log.fs.Open(name)
	if err != nil {
		return fmt.Errorf("wal: open segment: %w", err)
	}
	if err := r.replay(file, name, last); err != nil {
		return errors.Join(err, file.Close())
	}
	if last {
		return nil
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("wal: close segment: %w", err)
	}
	return nil
}

func (r *reader) replay(file disk.File, name string, last bool) error {
	data, err := r.read(file, name)
	if err != nil {
		return err
	}
	if err := r.content(file, name, data); err != nil || !last {
		return err
	}
	return r.repair(data)
}

// content replays what a segment's file holds.
func (r *reader) content(file disk.File, name string, data []byte) error {
	h, err := decodeHeader(data)
	if err != nil {
		return corrupt(name, 0, "%v", err)
	}
	if err := r.begin(h, name, int64(len(data))); err != nil {
		return err
	}
	l := r.log
	l.use(file, name, h)
	l.segments = append(l.segments, segmentInfo{name: name, last: h.before.Index})
	return r.frames(data, name)
}

func (r *reader) read(file disk.File, name string) ([]byte, error) {
	size, err := file.Size()
	if err != nil {
		return nil, fmt.Errorf("wal: read segment %s: %w", name, err)
	}
	if int64(cap(r.buf)) < size {
		r.buf = make([]byte, size)
	}
	data := r.buf[:size]
	if n, err := file.ReadAt(data, 0); int64(n) < size || err != nil && err != io.EOF {
		return nil, fmt.Errorf("wal: read segment %s: %d of %d bytes: %w", name, n, size, err)
	}
	return data, nil
}

// begin checks that the segment follows on what was read so far.
func (r *reader) begin(h *header, name string, size int64) error {
	l := r.log
	sequence, first, _ := parseSegmentName(path.Base(name))
	switch {
	case h.sequence != sequence || h.before.Index+1 != first:
		return corrupt(name, 0, "the header is of %s", segmentName(h.sequence, h.before.Index+1))
	case h.size != size:
		return corrupt(name, 0, "%d bytes long, %d in the header", size, h.size)
	}
	if l.header == nil {
		r.hard, r.base, r.rebased = h.state, h.before, h.previousEnd == 0
		l.number, l.chain = h.number, h.chain
		return nil
	}
	switch {
	case h.salt != l.header.salt:
		return corrupt(name, 0, "of another log than the segment before")
	case h.previousEnd != l.end || h.number != l.number || h.chain != l.chain:
		return corrupt(l.name, l.end, "frame %d: %v; but %s goes on from offset %d with frame %d",
			l.number, r.stopped, path.Base(name), h.previousEnd, h.number)
	case h.before != r.last() || h.state != r.hard || !bytes.Equal(h.metadata, l.header.metadata):
		return corrupt(name, 0, "the header does not agree with the segments before")
	}
	return nil
}
