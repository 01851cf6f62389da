package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"

	"go.etcd.io/raft/v3/raftpb"
)

// Record is one record of a log, where it stands. One of Entry, HardState and
// Snapshot is set.
type Record struct {
	Segment string // its file's name
	Offset  int64  // of its frame in the file, in bytes
	Frame   uint64 // number of the frame

	Entry     *raftpb.Entry // its data are valid until the visit is over
	HardState *raftpb.HardState
	Snapshot  *Position // the log restarts after it
}

// Segment is one file of a log.
type Segment struct {
	Name     string
	Size     int64  // bytes
	End      int64  // offset behind its last whole frame
	First    uint64 // number of its first frame
	Frames   uint64 // whole ones
	Sequence uint64
}

// Inspection is what Inspect has seen before it ended.
type Inspection struct {
	Metadata  []byte
	Segments  []Segment
	HardState *raftpb.HardState
	Snapshot  Position // as in Recovered
	Last      Position // of the last entry
	TornBytes int64    // of an interrupted write, which Open will zero
}

// Inspect reads the log in dir and changes nothing, neither what a crash has
// left. It visits the records in the order they were written, those too that
// later ones replaced. Damage is [ErrCorrupt]: what was read before it has been
// visited then and is in the Inspection, which is never nil. The process whose
// log it is must not be writing to it. It holds one segment in memory at a time.
func Inspect(dir fs.FS, visit func(Record)) (*Inspection, error) {
	r := &reader{log: &Log{}}
	report := &Inspection{}
	err := r.inspect(dir, report, visit)
	if h := r.log.header; h != nil {
		report.Metadata = bytes.Clone(h.metadata)
		report.HardState, report.Snapshot, report.Last = r.hard.message(), r.base, r.last()
	}
	return report, err
}

func (r *reader) inspect(dir fs.FS, report *Inspection, visit func(Record)) error {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return fmt.Errorf("wal: list segments: %w", err)
	}
	all := make([]string, len(entries))
	for i, e := range entries {
		all[i] = e.Name()
	}
	names, err := pickSegments(all, "")
	if err != nil {
		return err
	}
	l := r.log
	r.visit = func(rec record) { visit(newRecord(l, rec)) }
	var data []byte
	for _, name := range names {
		if data, err = fs.ReadFile(dir, name); err != nil {
			return fmt.Errorf("wal: read segment: %w", err)
		}
		err := r.content(nil, name, data)
		if l.name == name { // its header was right
			report.Segments = append(report.Segments, Segment{
				Name: name, Size: l.header.size, End: l.end, First: l.header.number,
				Frames: l.number - l.header.number, Sequence: l.header.sequence,
			})
		}
		if err != nil {
			return err
		}
	}
	report.TornBytes, err = r.tail(data)
	return err
}

// newRecord describes rec, of the frame that l is at.
func newRecord(l *Log, rec record) Record {
	at := Record{Segment: l.name, Offset: l.end, Frame: l.number}
	switch rec.kind {
	case entryRecord:
		at.Entry = newEntry(rec)
	case stateRecord:
		at.HardState = hardState{term: rec.a, vote: rec.b, commit: binary.LittleEndian.Uint64(rec.data)}.message()
	case snapshotRecord:
		at.Snapshot = &Position{Index: rec.b, Term: rec.a}
	}
	return at
}
