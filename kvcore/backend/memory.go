package backend

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// memory keeps the store in memory, for tests and simulations. It is durable
// only through WriteTo.
type memory struct {
	commit     sync.Mutex // held by Commit and Close
	epoch      uint64     // of the last commit; guarded by commit
	priorities rand.PCG   // for new keys; guarded by commit

	unfinished sync.WaitGroup               // readers not yet released
	newest     atomic.Pointer[memoryReader] // nil once closed
}

// NewMemory returns an empty store in memory.
func NewMemory() Backend {
	m := &memory{}
	m.publish(&memoryReader{})
	return m
}

// publish makes next what new readers see.
func (m *memory) publish(next *memoryReader) {
	m.unfinished.Add(1)
	next.refs.n.Store(1)
	next.done = m.unfinished.Done
	next.index, next.term = appliedOf(next)
	if last := m.newest.Swap(next); last != nil {
		last.Release()
	}
}

func (m *memory) Begin(index, term uint64) *Batch { return newBatch(index, term) }

func (m *memory) Commit(b *Batch) error {
	changes, err := b.changes()
	if err != nil {
		return fmt.Errorf("backend: commit to memory: %w", err)
	}
	m.commit.Lock()
	defer m.commit.Unlock()
	last := m.newest.Load()
	if last == nil {
		return fmt.Errorf("backend: commit to memory: %w", ErrClosed)
	}
	next := &memoryReader{roots: last.roots, bytes: last.bytes}
	m.epoch++
	for _, c := range changes {
		m.apply(next, c)
	}
	m.publish(next)
	return nil
}

// apply makes a change to the state under construction.
func (m *memory) apply(r *memoryReader, c op) {
	root := &r.roots[c.bucket]
	old := (*root).get(c.key)
	if old != nil {
		r.bytes -= int64(len(c.key) + len(old))
	}
	switch {
	case c.value != nil:
		*root = (*root).put(m.epoch, m.priorities.Uint64(), c.key, bytes.Clone(c.value))
		r.bytes += int64(len(c.key) + len(c.value))
	case old != nil:
		*root = (*root).remove(m.epoch, c.key)
	}
}

func (m *memory) Reader() Reader {
	for {
		r := m.newest.Load()
		if r == nil {
			return nil
		}
		if r.refs.acquire() {
			return r
		}
	}
}

func (m *memory) Applied() (index, term uint64) {
	if r := m.newest.Load(); r != nil {
		return r.Applied()
	}
	return 0, 0
}

func (m *memory) Size() (total, inUse int64) {
	if r := m.newest.Load(); r != nil {
		return r.bytes, r.bytes
	}
	return 0, 0
}

// Defragment implements Backend. Memory has no fragments that are ours.
func (m *memory) Defragment(ctx context.Context, progress func(done, total int64)) error {
	r := m.newest.Load()
	if r == nil {
		return fmt.Errorf("backend: defragment memory: %w", ErrClosed)
	}
	progress(r.bytes, r.bytes)
	return ctx.Err()
}

func (m *memory) Close() error {
	m.commit.Lock()
	defer m.commit.Unlock()
	if last := m.newest.Swap(nil); last != nil {
		last.Release()
	}
	m.unfinished.Wait()
	return nil
}

// memoryReader is the state after one commit; it does not change.
type memoryReader struct {
	refs        refs
	done        func() // called when the last reference is gone
	roots       [buckets]*treap
	bytes       int64 // of all keys and values
	index, term uint64
}

func (r *memoryReader) Get(bucket Bucket, key []byte) []byte {
	return r.roots[bucket].get(key)
}

func (r *memoryReader) Ascend(bucket Bucket, from, to []byte, f func(k, v []byte) bool) {
	r.roots[bucket].ascend(from, to, f)
}

func (r *memoryReader) Applied() (index, term uint64) { return r.index, r.term }

func (r *memoryReader) Release() {
	if r.refs.release() {
		r.done()
	}
}
