package kvcore

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
)

// What no read and no watch can reach any more leaves the backend, tombstones
// of the compact revision with the compaction after it.
func TestCompactionEmptiesBackend(t *testing.T) {
	b := backend.NewMemory()
	s, err := Open(b, Defaults())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	index := uint64(0)
	apply := func(reqs ...proto.Message) {
		index++
		for _, r := range s.Apply(index, 1, reqs) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	wantRecords := func(want int) {
		t.Helper()
		for s.CompactStep(1) {
		}
		if _, err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		r := b.Reader()
		defer r.Release()
		got := 0
		r.Ascend(backend.Key, nil, nil, func(_, _ []byte) bool { got++; return true })
		if got != want {
			t.Errorf("%d records after compaction at %d, want %d", got, s.CompactRevision(), want)
		}
		if s.Unflushed() != 0 {
			t.Errorf("%d bytes unflushed after a flush", s.Unflushed())
		}
	}
	put := &pb.PutRequest{Key: []byte("a")}
	apply(put, put, put, &pb.DeleteRangeRequest{Key: []byte("a")})
	wantRecords(4)
	if s.CompactDone(5) {
		t.Error("compaction is done before it was asked for")
	}
	apply(&pb.CompactionRequest{Revision: 5})
	wantRecords(1)
	if !s.CompactDone(5) {
		t.Error("compaction is not done")
	}
	apply(put, &pb.CompactionRequest{Revision: 6})
	wantRecords(1)
}

// A cursor that falls asleep while a view is published must see the new one:
// the writer may have looked at it before.
func TestCursorLooksAgainBeforeSleep(t *testing.T) {
	s, err := Open(backend.NewMemory(), Defaults())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put := []proto.Message{&pb.PutRequest{Key: []byte("a")}}
	c, err := s.Watch(WatchOptions{Key: []byte("a")}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(1, 1, put)
	before := s.view.Load() // what the cursor has read when the writer goes on
	s.Apply(2, 1, put)      // does not mark the cursor: it is awake
	c.next = before.revision + 1
	if c.settle(before) {
		t.Fatal("the cursor sleeps")
	}
	if events, _, err := c.Next(1 << 20); len(events) != 1 || err != nil {
		t.Errorf("got %v, %v, want the second put", events, err)
	}
}
