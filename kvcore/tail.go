package kvcore

import (
	"sort"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/coordd/coordd/kvcore/index"
)

// entry is a record in memory.
type entry struct {
	rev       index.Revision
	key       []byte // within data
	data      []byte
	tombstone bool
	event     atomic.Pointer[mvccpb.Event] // made by the first cursor that wants it, shared by all
}

// chunkEntries is a compromise: the list of chunks is copied whenever one is
// added, and a chunk is dropped as a whole.
const chunkEntries = 256

type chunk [chunkEntries]entry

// tail is the newest part of the revision log: everything not yet in the
// backend, and before that some of what is. Entries are numbered in sequence
// from the opening of the store.
//
// The writer appends in place behind what readers know of: a copy of a tail is
// an immutable view of its entries. Chunks are dropped from the front; the list
// of chunks is never changed, only replaced.
type tail struct {
	chunks []*chunk
	first  uint64 // sequence number of the first entry of the first chunk
	next   uint64 // of the next entry to be appended
	floor  int64  // the lowest main revision the tail holds all of
}

func newTail(revision int64) tail { return tail{floor: revision + 1} }

func (t *tail) at(sequence uint64) *entry {
	i := sequence - t.first
	return &t.chunks[i/chunkEntries][i%chunkEntries]
}

// append returns the next entry for the writer to fill.
func (t *tail) append() *entry {
	if t.next-t.first == uint64(len(t.chunks))*chunkEntries {
		chunks := make([]*chunk, len(t.chunks), len(t.chunks)+1)
		copy(chunks, t.chunks)
		t.chunks = append(chunks, new(chunk))
	}
	t.next++
	return t.at(t.next - 1)
}

// drop forgets the oldest n chunks.
func (t *tail) drop(n int) {
	if n == 0 {
		return
	}
	last := t.at(t.first + uint64(n)*chunkEntries - 1).rev.Main
	t.floor = last + 1
	t.first += uint64(n) * chunkEntries
	t.chunks = append([]*chunk(nil), t.chunks[n:]...)
}

// search returns the sequence number of the first entry at or after rev.
func (t *tail) search(rev index.Revision) uint64 {
	n := sort.Search(int(t.next-t.first), func(i int) bool {
		return t.at(t.first+uint64(i)).rev.Compare(rev) >= 0
	})
	return t.first + uint64(n)
}

// find returns the entry at rev, nil if the tail does not hold it.
func (t *tail) find(rev index.Revision) *entry {
	if t.first == t.next || rev.Compare(t.at(t.first).rev) < 0 {
		return nil
	}
	if i := t.search(rev); i < t.next {
		if e := t.at(i); e.rev == rev {
			return e
		}
	}
	return nil
}

// arena is where the writer encodes records: many to an allocation.
type arena struct{ free []byte }

const arenaBytes = 64 << 10

// take returns an empty slice with room for size bytes.
func (a *arena) take(size int) []byte {
	if size > arenaBytes/8 {
		return make([]byte, 0, size)
	}
	if len(a.free) < size {
		a.free = make([]byte, arenaBytes)
	}
	b := a.free[:0:size]
	a.free = a.free[size:]
	return b
}
