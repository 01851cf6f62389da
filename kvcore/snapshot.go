package kvcore

import (
	"errors"
	"fmt"
	"io"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/coordd/coordd/kvcore/backend"
)

// Snapshot is the whole store as of a flush. It holds on to the backend until
// closed.
type Snapshot struct {
	Index, Term uint64
	ConfState   *raftpb.ConfState

	reader  backend.Reader
	backend *generation
}

// Snapshot returns the store as of the last Flush. It waits for one that is
// under way, and for a Merge.
func (s *Store) Snapshot() (Snapshot, error) {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	var snap Snapshot
	err := s.read(0, func(r *reading) error {
		if !r.backend.acquire() {
			return errStale
		}
		reader := r.backend.Reader()
		if reader == nil {
			r.backend.release()
			return errStale
		}
		snap = Snapshot{reader: reader, backend: r.backend}
		return nil
	})
	if err != nil {
		return Snapshot{}, err
	}
	snap.Index, snap.Term = snap.reader.Applied()
	if v := snap.reader.Get(backend.Meta, confStateKey); v != nil {
		if snap.ConfState, err = decodeConfState(v); err != nil {
			snap.Close()
			return Snapshot{}, fmt.Errorf("kvcore: snapshot: confState: %w", err)
		}
	}
	return snap, nil
}

// Size returns the number of bytes that WriteTo writes.
func (s Snapshot) Size() int64 { return s.reader.Size() }

// WriteTo writes the snapshot in the form the backend opens.
func (s Snapshot) WriteTo(w io.Writer) (int64, error) { return s.reader.WriteTo(w) }

// Close frees what the snapshot holds.
func (s Snapshot) Close() {
	s.reader.Release()
	s.backend.release()
}

// Restore replaces the whole store by the one in b, which another member has
// written at a later place of the log. Cursors live on and go on from their
// revisions. The old backend is closed once its last reader is done. The store
// owns b unless Restore fails.
func (s *Store) Restore(b backend.Backend) error {
	st, err := load(b)
	if err != nil {
		return err
	}
	return s.replace(st, newGeneration(b))
}

// replace makes loaded state the store's, in backend g.
func (s *Store) replace(st *loaded, g *generation) error {
	s.mu.Lock()
	before := s.current
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	if st.applied.index < before.applied.index || st.revision < before.revision {
		s.mu.Unlock()
		return errors.New("kvcore: restore: the other store is older")
	}
	s.adopt(st, g)
	s.publish()
	s.mu.Unlock()
	if g != before.backend {
		before.backend.release()
	}
	s.watchers.wakeAll(before.revision + 1)
	s.notified.Store(st.revision)
	return nil
}
