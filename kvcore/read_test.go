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
