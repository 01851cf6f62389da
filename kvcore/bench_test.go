package kvcore_test

import (
	"context"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
)

func openMemory(t testing.TB) *kvcore.Store {
	t.Helper()
	s, err := kvcore.Open(backend.NewMemory(), kvcore.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// putBatches returns batches of 100 puts of 256 bytes, spread over 100,000 keys.
func putBatches() [][]proto.Message {
	batches := make([][]proto.Message, 1000)
	for i := range batches {
		for j := range 100 {
			key := fmt.Appendf(nil, "/registry/pods/%06d", (i*100+j)*7919%100_000)
			batches[i] = append(batches[i], &pb.PutRequest{Key: key, Value: make([]byte, 256)})
		}
	}
	return batches
}

// One operation is one put; 10,000 cursors watch other keys.
func BenchmarkApplyPuts(b *testing.B) {
	for _, cursors := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("cursors=%d", cursors), func(b *testing.B) {
			s := openMemory(b)
			for i := range cursors {
				o := kvcore.WatchOptions{Key: fmt.Appendf(nil, "/other/%d/", i)}
				if i%2 == 0 {
					o.RangeEnd = fmt.Appendf(nil, "/other/%d0", i)
				}
				if _, err := s.Watch(o, func() {}); err != nil {
					b.Fatal(err)
				}
			}
			batches := putBatches()
			index := uint64(0)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%100 != 0 {
					continue
				}
				index++
				s.Apply(index, 1, batches[index%uint64(len(batches))])
				if s.Unflushed() > 16<<20 {
					b.StopTimer()
					if _, err := s.Flush(); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			}
		})
	}
}

func BenchmarkApplyTxn(b *testing.B) {
	s := openMemory(b)
	for i, batch := range putBatches() {
		s.Apply(uint64(i+1), 1, batch)
	}
	index, _ := s.Applied()
	b.ReportAllocs()
	for b.Loop() {
		index++
		key := fmt.Appendf(nil, "/registry/pods/%06d", index*7919%100_000)
		s.Apply(index, 1, []proto.Message{&pb.TxnRequest{
			Compare: []*pb.Compare{{Key: key, Target: pb.Compare_MOD, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_ModRevision{}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: make([]byte, 256)}}}},
		}})
	}
}

func BenchmarkRangeOne(b *testing.B) {
	for _, where := range []string{"recent", "backend"} {
		b.Run(where, func(b *testing.B) {
			o := kvcore.Defaults()
			if where == "backend" {
				o.RecentEvents = 0
			}
			s, err := kvcore.Open(backend.NewMemory(), o)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			batches := putBatches()
			for i, batch := range batches {
				s.Apply(uint64(i+1), 1, batch)
			}
			if _, err := s.Flush(); err != nil {
				b.Fatal(err)
			}
			put := batches[0][0].(*pb.PutRequest)
			if where == "recent" {
				put = batches[len(batches)-1][0].(*pb.PutRequest)
			}
			req := &pb.RangeRequest{Key: put.Key}
			b.ReportAllocs()
			for b.Loop() {
				r, err := s.Range(context.Background(), req)
				if err != nil || r.Count != 1 {
					b.Fatal(r, err)
				}
			}
		})
	}
}

// One operation is one event delivered to one of 1,000 cursors.
func BenchmarkWatchFanOut(b *testing.B) {
	s := openMemory(b)
	var ready []*kvcore.Cursor
	for range 1000 {
		var c *kvcore.Cursor
		var err error
		if c, err = s.Watch(kvcore.WatchOptions{Key: []byte("k")}, func() { ready = append(ready, c) }); err != nil {
			b.Fatal(err)
		}
	}
	index := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		if len(ready) == 0 {
			index++
			s.Apply(index, 1, []proto.Message{&pb.PutRequest{Key: []byte("k"), Value: make([]byte, 256)}})
		}
		c := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		if events, more, err := c.Next(1 << 20); len(events) != 1 || more || err != nil {
			b.Fatal(events, more, err)
		}
	}
}
