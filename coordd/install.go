package coordd

import (
	"errors"
	"fmt"
	"io"

	"github.com/coordd/coordd/coordd/snap"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"go.etcd.io/raft/v3/raftpb"
)

// install brings the store to where a received snapshot is.
func (s *storage) install(meta *raftpb.SnapshotMetadata) error {
	defer s.defragmenter.hold()()
	p := snap.Position{Index: meta.GetIndex(), Term: meta.GetTerm()}
	kind, err := s.snaps.Pending(p)
	switch {
	case err != nil:
		return err
	case kind == snap.Delta:
		if err := s.withDelta(p, s.store.Merge); err != nil {
			return err
		}
		return s.checkApplied(p)
	}
	if err := s.snaps.Install(p); err != nil {
		return err
	}
	b, err := backend.OpenBolt(s.snaps.Store())
	if err != nil {
		return err
	}
	if index, _ := b.Applied(); index != p.Index {
		return errors.Join(fmt.Errorf("coordd: the received store is of entry %d, not %d", index, p.Index), b.Close())
	}
	return s.store.Restore(b)
}

func (s *storage) checkApplied(p snap.Position) error {
	if index, _ := s.store.Applied(); index != p.Index {
		return fmt.Errorf("coordd: the received delta is of entry %d, not %d", index, p.Index)
	}
	return nil
}

// withDelta lets merge read the received delta of p, which goes when that is done.
func (s *storage) withDelta(p snap.Position, merge func(io.ReadSeeker) error) error {
	file, err := s.snaps.OpenDelta(p)
	if err != nil {
		return err
	}
	size, err := file.Size()
	if err == nil {
		err = merge(io.NewSectionReader(file, 0, size))
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("coordd: install delta of %s: %w", p, err)
	}
	return s.snaps.Finish(p)
}

// openBackend opens the store's file. If that ends before the log begins, a
// crash has interrupted an installation, which is finished first.
func (s *storage) openBackend() (backend.Backend, error) {
	b, err := backend.OpenBolt(s.snaps.Store())
	if err != nil {
		return nil, err
	}
	p := snap.Position(s.recovered.Snapshot)
	applied, _ := b.Applied()
	if applied >= p.Index {
		return b, nil
	}
	kind, err := s.snaps.Pending(p)
	if err == nil && kind == snap.Delta {
		err = s.withDelta(p, func(delta io.ReadSeeker) error { return kvcore.MergeDelta(b, delta) })
	}
	if err == nil && kind == snap.Delta {
		return b, nil
	}
	if err := errors.Join(err, b.Close()); err != nil {
		return nil, fmt.Errorf("coordd: store %s: %w", s.snaps.Store(), err)
	}
	if err := s.snaps.Install(p); err != nil {
		return nil, fmt.Errorf("coordd: store %s is missing or old: it ends at entry %d, the log begins behind entry %d: bring the file back: %w",
			s.snaps.Store(), applied, p.Index, err)
	}
	return backend.OpenBolt(s.snaps.Store())
}
