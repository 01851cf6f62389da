package conformance

import (
	"context"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// watching is a watch stream whose answers are read one after another.
type watching struct {
	r            *rig
	cancelStream context.CancelFunc
	pb.Watch_WatchClient
}

func (r *rig) watch() *watching {
	r.Helper()
	ctx, cancel := context.WithCancel(r.ctx)
	r.Cleanup(cancel)
	stream, err := r.Watch(ctx)
	if err != nil {
		r.Fatal(err)
	}
	return &watching{r, cancel, stream}
}

func (w *watching) create(c *pb.WatchCreateRequest) {
	w.r.Helper()
	w.r.note("Watch create %s", w.r.transcript.text(c))
	err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: c}})
	if err != nil && err != io.EOF { // of a stream that is refused already the answer says why
		w.r.Fatal(err)
	}
}

func (w *watching) cancel(id int64) {
	w.r.note("Watch cancel %d", id)
	if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}); err != nil {
		w.r.Fatal(err)
	}
}

func (w *watching) progress() {
	if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}); err != nil {
		w.r.Fatal(err)
	}
}

// answer notes the next message or the end of the stream, one of which must come.
func (w *watching) answer() {
	w.r.Helper()
	m, err := w.next()
	if err != nil {
		w.r.note("  %s", errorText(err))
		return
	}
	w.r.note("  ← %s", w.r.transcript.text(m))
}

func (w *watching) next() (*pb.WatchResponse, error) {
	w.r.Helper()
	late := time.AfterFunc(callTimeout, w.cancelStream)
	m, err := w.Recv()
	if !late.Stop() {
		w.r.Fatal("the watch gives no answer")
	}
	return m, err
}

// events reads until n events have come and notes them; how they are cut into
// messages is not noted.
func (w *watching) events(n int) {
	w.r.Helper()
	timer := time.AfterFunc(callTimeout, w.cancelStream)
	defer timer.Stop()
	for got := 0; got < n; {
		m, err := w.Recv()
		if err != nil {
			w.r.note("  %s", errorText(err))
			return
		}
		for _, e := range m.Events {
			w.r.note("  %d ← %s", m.WatchId, w.r.transcript.text(e))
		}
		got += len(m.Events)
		if m.Canceled || m.Created {
			w.r.note("  ← %s", w.r.transcript.text(m))
		}
	}
}

var watchBodies = []body{
	{"watch", func(r *rig) {
		w := r.watch()
		w.create(&pb.WatchCreateRequest{Key: key("w/"), RangeEnd: key("w0")})
		w.answer()
		r.put("w/a", "1")
		w.answer()
		r.put("other", "1")
		r.put("w/a", "2")
		w.answer()
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("w/a")})
		w.answer()
		r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opPut("w/b", "1"), opPut("w/c", "1"), opDelete("other", ""), opDelete("w/b", ""))})
		r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opPut("w/b", "1"), opPut("w/c", "1"), opDelete("other", ""))})
		w.events(2)
		w.cancel(0)
		w.answer()
		w.cancel(17)
		w.create(&pb.WatchCreateRequest{})
		w.answer()
	}},
	{"watch history", func(r *rig) {
		for i := range 5 {
			r.put("h", fmt.Sprint(i))
		}
		now, err := r.KVClient.Range(r.ctx, &pb.RangeRequest{Key: key("h")})
		if err != nil {
			r.Fatal(err)
		}
		rev := now.Header.Revision
		for _, c := range []*pb.WatchCreateRequest{
			{Key: key("h"), StartRevision: rev - 4},
			{Key: key("h"), StartRevision: rev - 2, PrevKv: true},
			{Key: key("h"), StartRevision: 1, PrevKv: true},
			{Key: key("h"), StartRevision: rev - 4, RangeEnd: []byte{0}},
		} {
			w := r.watch()
			w.create(c)
			w.answer()
			w.events(3)
			w.CloseSend()
		}
	}},
	{"watch ids", func(r *rig) {
		w := r.watch()
		w.create(&pb.WatchCreateRequest{Key: key("i"), WatchId: 5})
		w.answer()
		w.create(&pb.WatchCreateRequest{Key: key("i"), WatchId: 5})
		w.answer()
		w.create(&pb.WatchCreateRequest{Key: key("i")})
		w.answer()
		w.create(&pb.WatchCreateRequest{Key: key("i"), WatchId: -7})
		w.answer()
		w.create(&pb.WatchCreateRequest{Key: key("i"), StartRevision: -1})
		w.answer()
		w.create(&pb.WatchCreateRequest{Key: key("i"), RangeEnd: key("a")})
		w.answer()
		w.cancel(5)
		w.answer()
		w.create(&pb.WatchCreateRequest{Key: key("i"), WatchId: 5})
		w.answer()
	}},
	{"watch filters", func(r *rig) {
		for _, filters := range [][]pb.WatchCreateRequest_FilterType{
			{pb.WatchCreateRequest_NOPUT}, {pb.WatchCreateRequest_NODELETE},
		} {
			w := r.watch()
			w.create(&pb.WatchCreateRequest{Key: key("f"), Filters: filters, PrevKv: true})
			w.answer()
			r.put("f", "1")
			r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("f")})
			r.put("f", "2")
			r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("f")})
			w.events(2)
		}
		both := r.watch()
		both.create(&pb.WatchCreateRequest{Key: key("f"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE}})
		both.answer()
		r.put("f", "3")
		both.progress()
		both.answer()
	}},
	{"watch prev_kv", func(r *rig) {
		w := r.watch()
		w.create(&pb.WatchCreateRequest{Key: key("prev"), PrevKv: true})
		w.answer()
		r.put("prev", "1")
		r.put("prev", "2")
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("prev")})
		r.put("prev", "3")
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("prev"), PrevKv: true})
		w.events(5)
		past := r.watch()
		past.create(&pb.WatchCreateRequest{Key: key("prev"), PrevKv: true, StartRevision: 1})
		past.answer()
		past.events(5)
	}},
	{"watch future", func(r *rig) {
		now, err := r.KVClient.Range(r.ctx, all())
		if err != nil {
			r.Fatal(err)
		}
		w := r.watch()
		w.create(&pb.WatchCreateRequest{Key: key("later"), StartRevision: now.Header.Revision + 3})
		w.answer()
		for i := range 4 {
			r.put("later", fmt.Sprint(i))
		}
		w.events(2)
	}},
	{"watch progress", func(r *rig) {
		w := r.watch()
		w.create(&pb.WatchCreateRequest{Key: key("p")})
		w.answer()
		w.progress()
		w.answer()
		r.put("q", "1")
		w.progress()
		w.answer()
		r.put("p", "1")
		w.events(1)
		w.progress()
		w.answer()
	}},
	{"watch fragments", func(r *rig) {
		var large []*pb.RequestOp
		for i := range 6 {
			large = append(large, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: fmt.Appendf(nil, "g/%d", i), Lease: 0, Value: make([]byte, 200<<10)}}})
		}
		if _, err := r.KVClient.Txn(r.ctx, &pb.TxnRequest{Success: large}); err != nil {
			r.Fatal(err)
		}
		if _, err := r.KVClient.Txn(r.ctx, &pb.TxnRequest{Success: large}); err != nil {
			r.Fatal(err)
		}
		r.transcript.lines = nil
		for _, fragment := range []bool{false, true} {
			w := r.watch()
			w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
				Key: key("g/"), RangeEnd: key("g0"), StartRevision: 1, Fragment: fragment, PrevKv: true,
			}}})
			w.answer()
			events, unfinished := 0, 0
			for events < 12 {
				m, err := w.Recv()
				if err != nil {
					r.Fatal(err)
				}
				events += len(m.Events)
				if m.Fragment {
					unfinished++
				}
			}
			r.note("fragment %t: %d events, fragments: %t", fragment, events, unfinished > 0)
		}
	}},
	{"watch compacted", func(r *rig) {
		now, err := r.KVClient.Range(r.ctx, all())
		if err != nil {
			r.Fatal(err)
		}
		r.transcript.lines = nil
		rev := now.Header.Revision
		r.Compact(r.ctx, &pb.CompactionRequest{Revision: rev, Physical: true})
		for _, start := range []int64{1, rev - 1, rev, rev + 1} {
			w := r.watch()
			w.create(&pb.WatchCreateRequest{Key: key("w/b"), StartRevision: start})
			w.answer()
			if start < rev {
				w.answer()
			}
		}
	}},
}
