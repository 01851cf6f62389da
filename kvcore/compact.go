package kvcore

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/index"
)

// compaction is the physical side of a compaction: what the index and the
// backend still hold of the time before target is to go, in pieces. A new
// target makes it start over.
type compaction struct {
	target  int64
	running bool
	from    []byte // key to go on from

	// kept are tombstones of the target revision itself, which the index has
	// forgotten but a watch from that revision must still see. The next
	// compaction deletes them.
	kept []erasure
}

// erasure names a record to be deleted.
type erasure struct {
	rev       index.Revision
	tombstone bool
}

// compact applies a compaction: at once nothing below the revision can be read
// any more. Getting rid of it is left to CompactStep.
func (s *Store) compact(r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	switch {
	case r.Revision <= s.current.compact:
		return nil, ErrCompacted
	case r.Revision > s.current.revision:
		return nil, ErrFutureRevision
	}
	s.current.compact = r.Revision
	s.compaction.target = r.Revision
	s.compaction.running = true
	s.compaction.from = nil
	s.queue(compactionChange(scheduledCompactKey, r.Revision))
	return &pb.CompactionResponse{Header: s.header()}, nil
}

func compactionChange(key []byte, rev int64) change {
	return change{backend.Meta, key, appendRevision(nil, index.Revision{Main: rev}, false)}
}

// CompactStep does a bounded piece of the physical compaction that is due,
// looking at no more than limit keys and removing no more than limit records, and
// reports whether some is left. What it removes leaves the backend with the next
// Flush.
func (s *Store) CompactStep(limit int) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.compaction
	if !c.running {
		return false
	}
	if c.from == nil {
		for _, e := range c.kept {
			s.erase(e)
		}
		c.kept = nil
	}
	c.from = s.tree.Compact(c.target, c.from, max(limit, 1), func(rev index.Revision, tombstone bool) {
		e := erasure{rev, tombstone}
		if rev.Main == c.target {
			c.kept = append(c.kept, e)
			return
		}
		s.erase(e)
	})
	s.stale = true
	if c.from == nil {
		c.running = false
		s.queue(compactionChange(finishedCompactKey, c.target))
		s.compacted.Store(c.target)
		s.compactions.notify()
	}
	s.publish()
	return c.running
}

// erase queues the deletion of a record.
func (s *Store) erase(e erasure) {
	key := make([]byte, 0, tombstoneBytes)
	s.queue(change{backend.Key, appendRevision(key, e.rev, e.tombstone), nil})
}

// AwaitCompaction returns once the physical compaction up to rev is finished, or
// with the context's error. What it removes leaves the backend with the Flush
// after that.
func (s *Store) AwaitCompaction(ctx context.Context, rev int64) error {
	for {
		done := s.compactions.wait()
		if s.compacted.Load() >= rev {
			return nil
		}
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
