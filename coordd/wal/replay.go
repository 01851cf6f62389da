package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// frames replays the whole frames of the active segment and leaves the log at their end. Its
// error is about a whole frame that makes no sense.
func (r *reader) frames(data []byte, name string) error {
	l := r.log
	for {
		f, err := l.framing.parse(data[l.end:], l.end, l.number, l.chain)
		if err != nil {
			r.stopped = err
			return nil
		}
		// The copy outlives data: the entries refer to it.
		if err := r.records(bytes.Clone(f.payload)); err != nil {
			return corrupt(name, l.end, "frame %d: %v", l.number, err)
		}
		l.end += f.size
		l.chain = f.chain
		l.number++
	}
}

func (r *reader) records(payload []byte) error {
	for len(payload) > 0 {
		rec, rest, err := nextRecord(payload)
		if err != nil {
			return err
		}
		kept := rec
		if r.visit != nil && rec.kind == entryRecord {
			kept.data = nil
		}
		if err := r.record(kept); err != nil {
			return err
		}
		if r.visit != nil {
			r.visit(rec)
		}
		payload = rest
	}
	return nil
}

func (r *reader) record(rec record) error {
	switch rec.kind {
	case entryRecord:
		return r.entry(rec)
	case stateRecord:
		if len(rec.data) != 8 {
			return fmt.Errorf("record: hard state with %d bytes of data", len(rec.data))
		}
		r.hard = hardState{term: rec.a, vote: rec.b, commit: binary.LittleEndian.Uint64(rec.data)}
	case snapshotRecord:
		r.base, r.rebased = Position{Index: rec.b, Term: rec.a}, true
		r.entries = nil
		for i := range r.log.segments {
			s := &r.log.segments[i]
			s.last = min(s.last, r.base.Index)
		}
	default:
		return fmt.Errorf("record: kind %d", rec.kind)
	}
	return nil
}

// entry adds an entry in place of those from its index on.
func (r *reader) entry(rec record) error {
	index := rec.b
	last := r.last().Index
	switch {
	case index > last+1 || index == 0:
		return fmt.Errorf("record: entry %d after %d", index, last)
	case index > r.base.Index:
		keep := index - r.base.Index - 1
		clear(r.entries[keep:])
		r.entries = append(r.entries[:keep], newEntry(rec))
	case r.rebased:
		return fmt.Errorf("record: entry %d on a log that starts after %d", index, r.base.Index)
	default:
		r.base, r.entries = Position{Index: index, Term: rec.a}, nil
	}
	active := &r.log.segments[len(r.log.segments)-1]
	active.last = max(active.last, index)
	return nil
}

func newEntry(rec record) *raftpb.Entry {
	// One allocation for the message and what its fields point to.
	e := &struct {
		raftpb.Entry
		term, index uint64
		kind        raftpb.EntryType
	}{term: rec.a, index: rec.b, kind: raftpb.EntryType(rec.entryType)}
	e.Term, e.Index, e.Type = &e.term, &e.index, &e.kind
	if len(rec.data) > 0 {
		e.Data = rec.data
	}
	return &e.Entry
}

// tail measures what follows the whole frames of the last segment: a torn write, unless something
// in it proves that the frame at their end was durable once.
func (r *reader) tail(data []byte) (dirty int64, err error) {
	l := r.log
	rest := data[l.end:]
	dirty = int64(len(bytes.TrimRight(rest, "\x00")))
	for at := int64(alignment); at < dirty; at += alignment {
		if l.framing.isHeader(rest[at:], l.end+at) {
			return 0, corrupt(l.name, l.end, "frame %d: %v; a frame at offset %d was written after it", l.number, r.stopped, l.end+at)
		}
	}
	return dirty, nil
}

// repair zeroes a torn write.
func (r *reader) repair(data []byte) error {
	l := r.log
	dirty, err := r.tail(data)
	if err != nil || dirty == 0 {
		return err
	}
	zeros := make([]byte, min(zeroChunk, dirty))
	for off := int64(0); off < dirty; off += zeroChunk {
		if _, err := l.file.WriteAt(zeros[:min(zeroChunk, dirty-off)], l.end+off); err != nil {
			return fmt.Errorf("wal: repair %s: %w", l.name, err)
		}
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("wal: repair %s: %w", l.name, err)
	}
	r.torn = dirty
	return nil
}
