package kvcore

import (
	"context"
	"errors"
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
	waiting := make(chan error, 1)
	go func() { waiting <- s.AwaitCompaction(t.Context(), 5) }()
	apply(&pb.CompactionRequest{Revision: 5})
	wantRecords(1)
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	over, end := context.WithCancel(t.Context())
	end()
	if err := s.AwaitCompaction(over, 6); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a compaction that nobody asked for: %v", err)
	}
	apply(put, &pb.CompactionRequest{Revision: 6})
	wantRecords(1)
}

// One step removes a bounded number of records, even if they are all of one
// key, and deletes each of them once.
func TestCompactionOfBusyKey(t *testing.T) {
	s, err := Open(backend.NewMemory(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	puts := make([]proto.Message, 1000)
	for i := range puts {
		puts[i] = &pb.PutRequest{Key: []byte("busy")}
	}
	s.Apply(1, 1, puts)
	s.Apply(2, 1, []proto.Message{&pb.CompactionRequest{Revision: s.Revision()}})
	flush(t, s)
	steps := 0
	for more := true; more; steps++ {
		more = s.CompactStep(100)
		if len(s.pending) > 100+1 { // and the end of it
			t.Fatalf("%d changes after one step", len(s.pending))
		}
		flush(t, s)
	}
	if steps < 10 {
		t.Errorf("999 records are gone after %d steps", steps)
	}
	r, err := s.Range(t.Context(), &pb.RangeRequest{Key: []byte("busy")})
	if err != nil || r.Kvs[0].Version != 1000 || r.Kvs[0].CreateRevision != 2 {
		t.Errorf("got %v, %v", r, err)
	}
}
