package kvcore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
)

// Transactions move value between two keys whose sum is constant, while readers
// check the sum at the current and at past revisions, watchers check that no
// revision is missing, and flushes and compactions run.
func TestReadersBesideWriter(t *testing.T) {
	b, err := backend.OpenBolt(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := kvcore.Open(b, kvcore.Options{RecentEvents: 300, RecentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	const entries = 1000
	const last = 1 + perEntry*entries
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var helpers, watchers sync.WaitGroup
	for i := range 3 {
		watchers.Go(func() { watchAll(t, s, last, i) })
	}
	for range 2 {
		helpers.Go(func() { readSums(ctx, t, s) })
	}
	helpers.Go(func() {
		for ctx.Err() == nil {
			if _, err := s.Flush(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	applyTransfers(s, entries)
	watchers.Wait()
	stop()
	helpers.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// perEntry is how many transactions an entry holds.
const perEntry = 6

func applyTransfers(s *kvcore.Store, entries int) {
	for i := range entries {
		reqs := make([]proto.Message, 0, perEntry+1)
		for j := range perEntry {
			n := (perEntry*i + j) % 100
			reqs = append(reqs, &pb.TxnRequest{Success: []*pb.RequestOp{
				op(&pb.PutRequest{Key: []byte("a"), Value: make([]byte, n)}),
				op(&pb.PutRequest{Key: []byte("b"), Value: make([]byte, 100-n)}),
			}})
		}
		if i%100 == 99 {
			reqs = append(reqs, &pb.CompactionRequest{Revision: s.Revision() - 50})
		}
		s.Apply(uint64(i+1), 1, reqs)
		s.CompactStep(1)
	}
}

func readSums(ctx context.Context, t *testing.T, s *kvcore.Store) {
	for i := int64(0); ctx.Err() == nil; i++ {
		req := &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("c")}
		if now := s.Revision(); i%2 == 0 && now > 80 {
			req.Revision = now - i%79
		}
		r, err := s.Range(ctx, req)
		switch {
		case errors.Is(err, kvcore.ErrCompacted) && req.Revision > 0, errors.Is(err, context.Canceled):
			continue
		case err != nil:
			t.Errorf("range at %d: %v", req.Revision, err)
			return
		}
		if len(r.Kvs) == 0 && r.Header.Revision == 1 {
			continue
		}
		if len(r.Kvs) != 2 || len(r.Kvs[0].Value)+len(r.Kvs[1].Value) != 100 || r.Kvs[0].ModRevision != r.Kvs[1].ModRevision {
			t.Errorf("range at %d is torn: %v", req.Revision, r)
			return
		}
	}
}

// watchAll sees each revision up to last once, in order. A watcher that has lost
// its place to compaction starts again, as clients do.
func watchAll(t *testing.T, s *kvcore.Store, last int64, id int) {
	ready := make(chan struct{}, 1)
	tell := func() {
		select {
		case ready <- struct{}{}:
		default:
		}
	}
	o := kvcore.WatchOptions{Key: []byte("a"), PrevKV: id == 0, StartRevision: 2}
	if id == 1 {
		o.RangeEnd = []byte{0}
	}
	perRevision := max(1, len(o.RangeEnd)+1)
	c, err := s.Watch(o, tell)
	if err != nil {
		t.Error(err)
		return
	}
	for next := int64(2); next <= last; {
		events, more, err := c.Next(1000)
		if errors.Is(err, kvcore.ErrCompacted) {
			next = c.CompactRevision()
			o.StartRevision = next
			c.Close()
			if c, err = s.Watch(o, tell); err != nil {
				t.Error(err)
				return
			}
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		for i, e := range events {
			if e.Kv.ModRevision != next {
				t.Errorf("watcher %d: event at %d, want %d", id, e.Kv.ModRevision, next)
				return
			}
			next += int64((i%perRevision + 1) / perRevision)
		}
		if progress := c.Revision(); progress >= next {
			t.Errorf("watcher %d: progress %d, but %d was not seen", id, progress, next)
			return
		}
		if !more && len(events) == 0 {
			<-ready
		}
	}
	c.Close()
}

// Cursors of other keys are not touched by a change, nor is one that has
// something already.
func TestOnlyInterestedCursorsAreTold(t *testing.T) {
	s := openMemory(t)
	var told atomic.Int64
	for i := range 100 {
		for _, end := range []string{"", fmt.Sprintf("k%02d0", i)} {
			o := kvcore.WatchOptions{Key: fmt.Appendf(nil, "k%02d", i), RangeEnd: []byte(end)}
			if _, err := s.Watch(o, func() { told.Add(1) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	put := []proto.Message{&pb.PutRequest{Key: []byte("k42")}}
	s.Apply(1, 1, put)
	s.Apply(2, 1, put)
	if n := told.Load(); n != 2 {
		t.Errorf("%d cursors were told, want 2", n)
	}
}
