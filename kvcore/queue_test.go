package kvcore_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
)

// openQueue returns a store with a queue of n keys of 1 KiB each among others,
// and the index of its last entry.
func openQueue(t testing.TB, n int) (*kvcore.Store, uint64) {
	s := openMemory(t)
	index := uint64(0)
	for i := range n {
		index++
		s.Apply(index, 1, []proto.Message{
			&pb.PutRequest{Key: fmt.Appendf(nil, "/a/%d", i)},
			&pb.PutRequest{Key: fmt.Appendf(nil, "/q/%d", i*7919%1_000_003), Value: make([]byte, 1024)},
		})
	}
	return s, index
}

// queueQuestions are the ranges that waiters in a queue ask for.
func queueQuestions() map[string]*pb.RangeRequest {
	question := func(order pb.RangeRequest_SortOrder, target pb.RangeRequest_SortTarget) *pb.RangeRequest {
		return &pb.RangeRequest{Key: []byte("/q/"), RangeEnd: []byte("/q0"), Limit: 1, SortOrder: order, SortTarget: target}
	}
	all := map[string]*pb.RangeRequest{
		"first":            question(pb.RangeRequest_ASCEND, pb.RangeRequest_CREATE),
		"last":             question(pb.RangeRequest_DESCEND, pb.RangeRequest_CREATE),
		"modified last":    question(pb.RangeRequest_DESCEND, pb.RangeRequest_MOD),
		"before the first": question(pb.RangeRequest_DESCEND, pb.RangeRequest_CREATE),
		"after the first":  question(pb.RangeRequest_ASCEND, pb.RangeRequest_CREATE),
		"first, keys only": question(pb.RangeRequest_ASCEND, pb.RangeRequest_CREATE),
		"how many":         {Key: []byte("/q/"), RangeEnd: []byte("/q0"), CountOnly: true},
	}
	all["before the first"].MaxCreateRevision = 2
	all["after the first"].MinCreateRevision = 4
	all["first, keys only"].KeysOnly = true
	return all
}

// What a waiter asks costs the same memory however many wait, alone, in a
// transaction that reads, and in one that is applied: the range is not copied.
func TestQueueQuestionsDoNotCopyTheQueue(t *testing.T) {
	type cost struct{ allocs, bytes uint64 }
	measure := func(n int) map[string]cost {
		s, index := openQueue(t, n)
		costs := map[string]cost{}
		for name, r := range queueQuestions() {
			txn := &pb.TxnRequest{
				Compare: []*pb.Compare{{Key: r.Key, RangeEnd: r.RangeEnd, Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{}}},
				Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: r}}},
			}
			for way, ask := range map[string]func() error{
				"range": func() error { _, err := s.Range(context.Background(), r); return err },
				"txn":   func() error { _, err := s.Txn(context.Background(), txn); return err },
				"apply": func() error { index++; return s.Apply(index, 1, []proto.Message{txn})[0].Err },
			} {
				const times = 100
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for range times {
					if err := ask(); err != nil {
						t.Fatal(err)
					}
				}
				runtime.ReadMemStats(&after)
				costs[name+", "+way] = cost{(after.Mallocs - before.Mallocs) / times, (after.TotalAlloc - before.TotalAlloc) / times}
			}
		}
		return costs
	}
	few, many := measure(10), measure(20_000)
	for name, c := range many {
		if f := few[name]; c.allocs > f.allocs+2 || c.bytes > f.bytes+512 {
			t.Errorf("%s: %d B in %d allocations where 20,000 wait, %d B in %d where 10 do", name, c.bytes, c.allocs, f.bytes, f.allocs)
		}
	}
}

// BenchmarkQueueQuestions shows how the cost grows with the queue.
func BenchmarkQueueQuestions(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000, 100_000} {
		s, _ := openQueue(b, n)
		for name, r := range queueQuestions() {
			b.Run(fmt.Sprintf("%s/n=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Range(context.Background(), r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A cursor on one key has caught up after one call of Next, wherever it begins and
// however much has happened to other keys since, in memory or in the backend.
func TestCursorOnAKeyCatchesUpAtOnce(t *testing.T) {
	const others = 100_000 // more than a call looks at
	for _, recent := range []int{0, 1 << 20} {
		s, err := kvcore.Open(backend.NewMemory(), kvcore.Options{RecentEvents: recent, RecentBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.Apply(1, 1, []proto.Message{
			&pb.PutRequest{Key: []byte("k"), Value: []byte("1")},
			&pb.DeleteRangeRequest{Key: []byte("k")},
			&pb.PutRequest{Key: []byte("k"), Value: []byte("2")},
		})
		batch := make([]proto.Message, others/10)
		for i := range batch {
			batch[i] = &pb.PutRequest{Key: fmt.Appendf(nil, "other/%d", i)}
		}
		for i := range 10 {
			s.Apply(uint64(i+2), 1, batch)
		}
		if recent == 0 {
			if _, err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		for start, want := range map[int64]int{0: 0, 2: 3, 3: 2, 4: 1, 5: 0} {
			c, err := s.Watch(kvcore.WatchOptions{Key: []byte("k"), StartRevision: start}, func() {})
			if err != nil {
				t.Fatal(err)
			}
			events, more, err := c.Next(1 << 20)
			if len(events) != want || more || err != nil {
				t.Errorf("start %d, %d recent events: %d events, more %t, %v; want %d and no more", start, recent, len(events), more, err, want)
			}
			if c.Revision() != s.Revision() {
				t.Errorf("start %d: the cursor is at %d, the store at %d", start, c.Revision(), s.Revision())
			}
			c.Close()
		}
	}
}

// BenchmarkExpire is the end of 1,000 leases in one entry, during which nothing
// else is applied. 10,000 cursors watch keys, a thousand of them those that go.
func BenchmarkExpire(b *testing.B) {
	const leases, cursors = 1000, 10_000
	s := openMemory(b)
	for i := range cursors {
		if _, err := s.Watch(kvcore.WatchOptions{Key: fmt.Appendf(nil, "/held/%d", i)}, func() {}); err != nil {
			b.Fatal(err)
		}
	}
	grants, puts := make([]proto.Message, leases), make([]proto.Message, leases)
	expire := &coordpb.LeaseExpireRequest{Term: 1}
	for i := range leases {
		id := int64(i + 1)
		grants[i] = &pb.LeaseGrantRequest{ID: id, TTL: 10}
		puts[i] = &pb.PutRequest{Key: fmt.Appendf(nil, "/held/%d", i), Lease: id}
		expire.Ids = append(expire.Ids, id)
	}
	index := uint64(0)
	for b.Loop() {
		b.StopTimer()
		s.Apply(index+1, 1, grants)
		s.Apply(index+2, 1, puts)
		b.StartTimer()
		s.Apply(index+3, 1, []proto.Message{expire})
		index += 3
	}
}
