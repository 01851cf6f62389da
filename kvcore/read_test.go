package kvcore

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
)

// A reader whose records are physically compacted between its look at the index
// and its look into the backend gets ErrCompacted for a past revision, and the
// newer state for the current one.
func TestCompactionOvertakesReader(t *testing.T) {
	for _, c := range []struct {
		name     string
		revision int64
		want     error
	}{{"past revision", 2, ErrCompacted}, {"current revision", 0, nil}} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Open(backend.NewMemory(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			puts := make([]proto.Message, 2*chunkEntries)
			for i := range puts {
				puts[i] = &pb.PutRequest{Key: []byte("other")}
			}
			key := &pb.PutRequest{Key: []byte("k")}
			s.Apply(1, 1, append([]proto.Message{key}, puts...))
			flush(t, s)
			req := &pb.RangeRequest{Key: []byte("k"), Revision: c.revision}
			tries := 0
			err = s.read(req.Revision, func(r *reading) error {
				if tries++; tries == 1 {
					s.Apply(2, 1, append([]proto.Message{key}, puts...))
					s.Apply(3, 1, []proto.Message{&pb.CompactionRequest{Revision: s.Revision()}})
					for s.CompactStep(10) {
					}
					flush(t, s)
				}
				response, err := r.rangeKeys(t.Context(), req)
				if err == nil && response.Kvs[0].Version != 2 {
					t.Errorf("got %v, want version 2", response)
				}
				return err
			})
			if !errors.Is(err, c.want) || tries != 2 {
				t.Errorf("got %v after %d tries, want %v", err, tries, c.want)
			}
		})
	}
}

// A cursor that shows previous values reads one revision below its place. What
// stood there may be compacted physically while it looks on from an older view.
func TestCompactionOvertakesPreviousValue(t *testing.T) {
	for _, recent := range []int{0, chunkEntries} {
		s, err := Open(backend.NewMemory(), Options{RecentEvents: recent, RecentBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		puts := make([]proto.Message, chunkEntries-1)
		for i := range puts {
			puts[i] = &pb.PutRequest{Key: []byte("other")}
		}
		put := &pb.PutRequest{Key: []byte("k")}
		s.Apply(1, 1, append([]proto.Message{put}, puts...))
		flush(t, s)
		s.Apply(2, 1, []proto.Message{put})
		if recent == 0 {
			s.Apply(3, 1, puts)
		}
		flush(t, s)
		last := s.Revision()
		if recent == 0 {
			last -= int64(len(puts))
		}
		c, err := s.Watch(WatchOptions{Key: put.Key, StartRevision: last, PrevKV: true}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		sc := scan{Cursor: c, from: last, budget: 1, reading: reading{view: s.view.Load(), store: s}}
		s.Apply(4, 1, []proto.Message{&pb.CompactionRequest{Revision: last}})
		for s.CompactStep(10) {
		}
		flush(t, s)
		if err := sc.run(); !errors.Is(err, errStale) {
			t.Errorf("recent %d: got %v, want a stale view", recent, err)
		}
		sc.close()
		if events, _, err := c.Next(1); len(events) != 1 || events[0].PrevKv != nil || err != nil {
			t.Errorf("recent %d: got %v, %v, want the put without the previous value", recent, events, err)
		}
	}
}

// After Close nothing that needs the backend is answered, and nothing hangs.
func TestReadAfterClose(t *testing.T) {
	b := backend.NewMemory()
	s, err := Open(b, Defaults())
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(1, 1, []proto.Message{&pb.PutRequest{Key: []byte("k")}})
	flush(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.HashKV(0); !errors.Is(err, ErrClosed) {
		t.Errorf("hash: %v", err)
	}
	if _, err := s.Snapshot(); !errors.Is(err, ErrClosed) {
		t.Errorf("snapshot: %v", err)
	}
	if _, err := s.Flush(); !errors.Is(err, ErrClosed) {
		t.Errorf("flush: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

func flush(t *testing.T, s *Store) {
	t.Helper()
	if _, err := s.Flush(); err != nil {
		t.Fatal(err)
	}
}
