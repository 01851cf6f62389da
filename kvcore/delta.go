package kvcore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/index"
)

// A delta brings a store that has fallen behind to a later place P of the log.
// It holds the records above the revision R that the store said it holds, and
// all that is not records whole. It is right under two conditions.
//
// The sender makes sure that R is not below the compact revision C at P: else a
// key that was deleted above R, and whose tombstone is compacted, would live on.
//
// Raft makes sure that the store, when the delta comes to be merged, has applied
// nothing at or behind P. It may have gone on after it told R. But everything it
// applied is of the same log before P: the records it has gained are in the delta,
// byte for byte, and what it has compacted is below C, so neither above R nor
// visible at C.

// Held is what a store holds durably: the history up to Revision, less what is compacted.
type Held struct {
	Revision int64
	Digest   []byte // SHA-256 of the records of Revision; empty if it has none
}

// Held returns what the store of the snapshot holds.
func (s Snapshot) Held() Held {
	last := lastRevision(s.reader)
	return Held{Revision: last, Digest: digest(s.reader, last)}
}

// lastRevision returns the highest main revision in bucket key, 0 if it is empty.
func lastRevision(r backend.Reader) int64 {
	low, high := int64(0), int64(math.MaxInt64) // it is in [low, high)
	for low < high-1 {
		middle := low + (high-low)/2
		found := false
		r.Ascend(backend.Key, revisionKey(middle), nil, func(_, _ []byte) bool {
			found = true
			return false
		})
		if found {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// revisionKey is where the records of a main revision begin.
func revisionKey(rev int64) []byte { return appendRevision(nil, index.Revision{Main: rev}, false) }

func digest(r backend.Reader, rev int64) []byte {
	sum, some := sha256.New(), false
	r.Ascend(backend.Key, revisionKey(rev), revisionKey(rev+1), func(k, v []byte) bool {
		some = true
		sum.Write(k)
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(v))))
		sum.Write(v)
		return true
	})
	if !some {
		return nil
	}
	return sum.Sum(nil)
}

// Delta is what another store lacks of a snapshot. It is of use until the
// snapshot is closed.
type Delta struct {
	Revisions int64 // how many it lacks

	reader backend.Reader
	from   []byte
}

// Delta returns what a store lacks that holds h. It is false where only the
// whole store helps: the other one is empty, of another history, or its next
// revision has been compacted.
func (s Snapshot) Delta(h Held) (d Delta, ok bool) {
	var st loaded
	if err := st.loadCompaction(s.reader); err != nil || h.Revision < st.compact {
		return Delta{}, false
	}
	if h.Revision <= 0 || h.Revision == math.MaxInt64 || len(h.Digest) == 0 || !bytes.Equal(h.Digest, digest(s.reader, h.Revision)) {
		return Delta{}, false
	}
	return Delta{
		Revisions: lastRevision(s.reader) - h.Revision,
		reader:    s.reader,
		from:      revisionKey(h.Revision + 1),
	}, true
}

// WriteTo writes the delta in the form that Merge reads.
func (d Delta) WriteTo(w io.Writer) (int64, error) { return backend.WriteDelta(w, d.reader, d.from) }

// Merge brings the store to the state of a delta. Cursors live on and go on from
// their revisions. It fails with backend.ErrDamaged, and has changed nothing, if
// the bytes are no delta. After any other error the store must not be used: part of the
// delta may be in the backend, and MergeDelta is to be called with it before the store is
// opened again.
func (s *Store) Merge(delta io.ReadSeeker) error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	g := s.view.Load().backend
	if !g.acquire() {
		return ErrClosed
	}
	defer g.release()
	if err := MergeDelta(g, delta); err != nil {
		return err
	}
	st, err := load(g)
	if err != nil {
		return err
	}
	return s.replace(st, g)
}

// Bounds of one batch of a merge, whichever comes first.
const (
	mergeBytes   = 4 << 20
	mergeChanges = 16 << 10
)

// MergeDelta merges a delta into a backend that no store has open. Until the
// last of its batches, which has the applied position, the backend keeps its own:
// after a failure or a crash it is known by that, and to be merged again. It
// takes the memory of one batch.
func MergeDelta(b backend.Backend, delta io.ReadSeeker) error {
	// A damaged one must not do half of its work.
	if err := backend.ReadDelta(delta, func(backend.Bucket, []byte, []byte) error { return nil }); err != nil {
		return fmt.Errorf("kvcore: merge: %w", err)
	}
	if _, err := delta.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("kvcore: merge: %w", err)
	}
	m := merging{backend: b, batch: b.Begin(0, 0)}
	if err := m.run(delta); err != nil {
		return fmt.Errorf("kvcore: merge: %w", err)
	}
	return nil
}

// merging is a merge under way.
type merging struct {
	backend backend.Backend
	batch   *backend.Batch
	meta    bool // bucket meta has begun: it is replaced in one batch
}

func (m *merging) run(delta io.Reader) error {
	reader := m.backend.Reader()
	if reader == nil {
		return backend.ErrClosed
	}
	defer reader.Release()
	for bucket := range backend.All() {
		if bucket == backend.Key || bucket == backend.Meta {
			continue
		}
		if err := m.clear(reader, bucket); err != nil {
			return err
		}
	}
	err := backend.ReadDelta(delta, func(bucket backend.Bucket, key, value []byte) error {
		if bucket == backend.Meta {
			return m.putMeta(reader, key, value)
		}
		if m.meta {
			return fmt.Errorf("%w: bucket %v behind %v", backend.ErrDamaged, bucket, backend.Meta)
		}
		m.batch.Put(bucket, key, value)
		return m.commitFull()
	})
	if err != nil {
		return err
	}
	if !m.meta {
		return errors.New("the delta has no position")
	}
	return m.backend.Commit(m.batch)
}

// clear removes all keys of a bucket but those of kept.
func (m *merging) clear(r backend.Reader, bucket backend.Bucket) (err error) {
	r.Ascend(bucket, nil, nil, func(k, _ []byte) bool {
		if bucket != backend.Meta || !isOwnMeta(k) {
			m.batch.Delete(bucket, k)
			err = m.commitFull()
		}
		return err == nil
	})
	return err
}

// isOwnMeta: how far a store has compacted physically is its own affair. Keeping
// it makes what was scheduled meanwhile run.
func isOwnMeta(key []byte) bool { return bytes.Equal(key, finishedCompactKey) }

func (m *merging) putMeta(r backend.Reader, key, value []byte) error {
	if !m.meta {
		if err := m.commit(); err != nil {
			return err
		}
		m.meta = true
		if err := m.clear(r, backend.Meta); err != nil {
			return err
		}
	}
	if !isOwnMeta(key) {
		m.batch.Put(backend.Meta, key, value)
	}
	return nil
}

func (m *merging) commitFull() error {
	if m.meta || m.batch.Bytes() < mergeBytes && m.batch.Len() < mergeChanges {
		return nil
	}
	return m.commit()
}

func (m *merging) commit() error {
	if err := m.backend.Commit(m.batch); err != nil {
		return err
	}
	m.batch = m.backend.Begin(0, 0)
	return nil
}
