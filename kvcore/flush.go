package kvcore

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
)

// change is something to be flushed beside records; a nil value deletes the key.
type change struct {
	bucket     backend.Bucket
	key, value []byte
}

// bytes is what the change takes in memory, roughly: a compaction queues many
// small ones.
func (c change) bytes() int { return 64 + len(c.key) + len(c.value) }

func (s *Store) queue(c change) {
	s.pending = append(s.pending, c)
	s.unflushed.Add(int64(c.bytes()))
}

// entryBytes is what an entry takes in the backend, roughly.
func entryBytes(e *entry) int { return revisionBytes + len(e.data) }

// frozen is what one Flush writes.
type frozen struct {
	backend     *generation
	applied     position
	tail        tail
	first, next uint64 // sequence numbers of the records in tail
	changes     []change
}

// Unflushed returns how many bytes were applied and are not in the backend yet.
func (s *Store) Unflushed() (bytes int) { return int(s.unflushed.Load()) }

// Flush writes to the backend what was applied before it began, in one batch,
// and returns the applied index that is durable then. Apply goes on beside it.
// After an error nothing more may be expected of the backend.
func (s *Store) Flush() (index uint64, err error) {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	f, err := s.freeze()
	if err != nil {
		return 0, err
	}
	defer f.backend.release()
	durable, _ := f.backend.Applied()
	if f.first == f.next && len(f.changes) == 0 && f.applied.index == durable {
		return durable, nil
	}
	bytes := 0
	b := f.backend.Begin(f.applied.index, f.applied.term)
	keys := make([]byte, 0, (f.next-f.first)*tombstoneBytes)
	for i := f.first; i < f.next; i++ {
		e := f.tail.at(i)
		from := len(keys)
		keys = appendRevision(keys, e.rev, e.tombstone)
		b.Put(backend.Key, keys[from:len(keys):len(keys)], e.data)
		bytes += entryBytes(e)
	}
	// After the records: compaction may delete some of them right away.
	for _, c := range f.changes {
		if c.value == nil {
			b.Delete(c.bucket, c.key)
		} else {
			b.Put(c.bucket, c.key, c.value)
		}
		bytes += c.bytes()
	}
	if err := f.backend.Commit(b); err != nil {
		s.thaw(f)
		return 0, fmt.Errorf("kvcore: flush: %w", err)
	}
	s.settle(f, bytes)
	return f.applied.index, nil
}

func (s *Store) freeze() (*frozen, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &frozen{
		backend: s.current.backend,
		applied: s.current.applied,
		tail:    s.current.tail,
		first:   s.flushed,
		next:    s.current.tail.next,
		changes: s.pending,
	}
	if s.closed || !f.backend.acquire() {
		return nil, ErrClosed
	}
	s.pending = nil
	return f, nil
}

// thaw takes back what could not be written.
func (s *Store) thaw(f *frozen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.backend == f.backend {
		s.pending = append(f.changes, s.pending...)
	}
}

// settle notes what has been written and forgets what is recent no longer.
func (s *Store) settle(f *frozen, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.backend != f.backend {
		return // Restore was faster: the frozen state is history
	}
	s.unflushed.Add(-int64(bytes))
	for i := f.first; i < f.next; i++ {
		s.recent += entryBytes(f.tail.at(i))
	}
	s.flushed = f.next
	s.trim()
	s.publish()
}

// trim drops flushed chunks from the tail while it exceeds its bounds.
func (s *Store) trim() {
	t := &s.current.tail
	n := 0
	for from := t.first; ; n++ {
		events := s.flushed - from
		if events < chunkEntries || int(events) <= s.options.RecentEvents && s.recent <= s.options.RecentBytes {
			break
		}
		for range chunkEntries {
			s.recent -= entryBytes(t.at(from))
			from++
		}
	}
	t.drop(n)
}

// Bootstrap makes the first write to the store of a new cluster: its members
// and configuration, as of the given place in the log. It is durable when
// Bootstrap returns.
func (s *Store) Bootstrap(term uint64, index uint64, cs *raftpb.ConfState, members []*coordpb.Member) error {
	if applied, _ := s.Applied(); applied != 0 || s.ConfState() != nil {
		return errors.New("kvcore: bootstrap: the store is not new")
	}
	s.mu.Lock()
	s.advance(index, term)
	s.setConfState(cs)
	for _, m := range members {
		s.putMember(proto.CloneOf(m))
	}
	s.publish()
	s.mu.Unlock()
	_, err := s.Flush()
	return err
}
