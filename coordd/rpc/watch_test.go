package rpc

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

func TestWatchCreatedComesFirst(t *testing.T) {
	r := newRig(t, nil)
	first := r.put(t, "a", "1")
	s := r.watch(t)
	s.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: first})
	if got := s.next(); !got.Created || got.Canceled || got.WatchId != 0 || len(got.Events) != 0 {
		t.Fatalf("first response %v, want created", got)
	}
	got := s.next()
	if len(got.Events) != 1 || got.Events[0].Kv.ModRevision != first || got.Header.Revision < first {
		t.Fatalf("second response %v, want the event of revision %d", got, first)
	}
}

func TestWatchShowsWhatMatches(t *testing.T) {
	r := newRig(t, nil)
	for _, key := range []string{"a", "b", "b1", "c"} {
		r.put(t, key, "old")
	}
	for _, c := range []struct {
		name    string
		request *pb.WatchCreateRequest
		want    string
	}{
		{"one key", &pb.WatchCreateRequest{Key: []byte("b")}, "PUT b new, DELETE b"},
		{"range", &pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("c")}, "PUT b new, PUT b1 new, DELETE b"},
		{"from key", &pb.WatchCreateRequest{Key: []byte("b1"), RangeEnd: []byte{0}}, "PUT b1 new, PUT c new, DELETE c"},
		{"all", &pb.WatchCreateRequest{RangeEnd: []byte{0}}, "PUT a new, PUT b new, PUT b1 new, PUT c new, DELETE b, DELETE c"},
		{"no puts", &pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte{0}, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}}, "DELETE b, DELETE c"},
		{"no deletes", &pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("c"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}}, "PUT b new, PUT b1 new"},
		{"with previous", &pb.WatchCreateRequest{Key: []byte("b"), PrevKv: true}, "PUT b new (old), DELETE b (new)"},
	} {
		c.request.StartRevision = r.store.Revision() + 1
		s := r.watch(t)
		s.create(c.request)
		s.next()
		for _, key := range []string{"a", "b", "b1", "c"} {
			r.put(t, key, "new")
		}
		for _, key := range []string{"b", "c"} {
			if _, err := r.client.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for want := strings.Count(c.want, ",") + 1; len(got) < want; {
			for _, e := range s.next().Events {
				got = append(got, describe(e))
			}
		}
		if line := strings.Join(got, ", "); line != c.want {
			t.Errorf("%s: %s; want %s", c.name, line, c.want)
		}
		for _, key := range []string{"a", "b", "b1", "c"} {
			r.put(t, key, "old")
		}
	}
}

func describe(e *mvccpb.Event) string {
	text := fmt.Sprintf("%s %s", e.Type, e.Kv.Key)
	if e.Type == mvccpb.Event_PUT {
		text += " " + string(e.Kv.Value)
	}
	if e.PrevKv != nil {
		text += fmt.Sprintf(" (%s)", e.PrevKv.Value)
	}
	return text
}

func TestWatchIDs(t *testing.T) {
	r := newRig(t, nil)
	s := r.watch(t)
	created := func(request *pb.WatchCreateRequest) *pb.WatchResponse {
		t.Helper()
		request.Key = []byte("a")
		s.create(request)
		return s.next()
	}
	for _, c := range []struct{ ask, want int64 }{{0, 0}, {1, 1}, {0, 2}, {7, 7}, {0, 3}} {
		if got := created(&pb.WatchCreateRequest{WatchId: c.ask}); got.WatchId != c.want || got.Canceled {
			t.Errorf("asked for watch id %d: %v, want %d", c.ask, got, c.want)
		}
	}
	for reason, request := range map[string]*pb.WatchCreateRequest{
		"mvcc: duplicate watch ID provided on the WatchStream": {WatchId: 7},
		"mvcc: watcher range is empty":                         {RangeEnd: []byte("A")},
		rpctypes.ErrCompacted.Error():                          {StartRevision: -1},
	} {
		got := created(request)
		if got.WatchId != -1 || !got.Created || !got.Canceled || got.CancelReason != reason {
			t.Errorf("refused watch: %v, want id -1 and reason %q", got, reason)
		}
	}
}

func TestWatchCancel(t *testing.T) {
	r := newRig(t, nil)
	s := r.watch(t)
	for id := range int64(2) {
		s.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: id + 5})
		s.next()
	}
	s.cancel(99) // answered with nothing
	s.cancel(5)
	if got := s.next(); got.WatchId != 5 || !got.Canceled || got.Created || got.CancelReason != "" {
		t.Fatalf("answer to a cancel: %v", got)
	}
	r.put(t, "a", "1")
	if got := s.next(); got.WatchId != 6 || len(got.Events) != 1 {
		t.Fatalf("after the cancel: %v, want the other watcher's event", got)
	}
}

func TestWatchOfCompactedRevision(t *testing.T) {
	r := newRig(t, nil)
	for range 4 {
		r.put(t, "a", "1")
	}
	if _, err := r.client.Compact(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	s := r.watch(t)
	s.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 2})
	if got := s.next(); !got.Created || got.Canceled {
		t.Fatalf("first response %v, want created", got)
	}
	if got := s.next(); !got.Canceled || got.Created || got.CompactRevision != 4 || got.WatchId != 0 {
		t.Fatalf("second response %v, want canceled with compact revision 4", got)
	}
	for response := range r.client.Watch(t.Context(), "a", clientv3.WithRev(2)) {
		if response.Err() != rpctypes.ErrCompacted || response.CompactRevision != 4 {
			t.Fatalf("the official client got %v, want %v", response.Err(), rpctypes.ErrCompacted)
		}
	}
}

func TestWatchOfFutureRevision(t *testing.T) {
	r := newRig(t, nil)
	s := r.watch(t)
	s.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 4})
	s.next()
	for range 3 {
		r.put(t, "a", "1")
	}
	if got := s.next(); len(got.Events) != 1 || got.Events[0].Kv.ModRevision != 4 {
		t.Fatalf("%v, want the event of revision 4 first", got)
	}
}

// A client that resumes from what a response's header says must miss nothing.
func TestWatchHeaderNeverRunsAhead(t *testing.T) {
	r := newRig(t, nil)
	const writes = 500
	written := make(chan error, 1)
	go func() {
		for range writes {
			if _, err := r.client.Put(context.Background(), "a", "1"); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	s := r.watch(t)
	s.create(&pb.WatchCreateRequest{Key: []byte("a"), ProgressNotify: true})
	next := s.next().Header.Revision + 1
	for next <= writes+1 {
		s.progress()
		got := s.next()
		for _, e := range got.Events {
			if e.Kv.ModRevision != next {
				t.Fatalf("event of revision %d, want %d: the header before claimed too much, or an event is lost", e.Kv.ModRevision, next)
			}
			next++
		}
		if got.Header.Revision >= next {
			t.Fatalf("%v claims revision %d, seen is only what is below %d", got, got.Header.Revision, next)
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

func TestManualProgress(t *testing.T) {
	r := newRig(t, nil)
	s := r.watch(t)
	s.create(&pb.WatchCreateRequest{Key: []byte("a")})
	s.next()
	s.create(&pb.WatchCreateRequest{Key: []byte("b")})
	s.next()
	last := r.put(t, "other", "1")
	s.progress()
	if got := s.next(); got.WatchId != -1 || got.Header.Revision < last || len(got.Events) != 0 || got.Created || got.Canceled {
		t.Fatalf("answer to a progress request: %v, want id -1 at revision %d", got, last)
	}
}

func TestManualProgressWaitsForAWatcherOfTheFuture(t *testing.T) {
	r := newRig(t, nil)
	s := r.watch(t)
	s.create(&pb.WatchCreateRequest{Key: []byte("a")})
	s.next()
	s.create(&pb.WatchCreateRequest{Key: []byte("b"), StartRevision: 4})
	s.next()
	s.progress()
	for range 3 {
		r.put(t, "other", "1")
	}
	if got := s.next(); got.WatchId != -1 || got.Header.Revision < 4 {
		t.Fatalf("answer to a progress request: %v, want id -1 and no revision below 4", got)
	}
}

func TestProgressOfIdleWatchers(t *testing.T) {
	r := newRig(t, func(c *Config) { c.ProgressInterval = 20 * time.Millisecond })
	s := r.watch(t)
	s.create(&pb.WatchCreateRequest{Key: []byte("silent")})
	s.next()
	s.create(&pb.WatchCreateRequest{Key: []byte("a"), ProgressNotify: true})
	s.next()
	last := r.put(t, "other", "1")
	for {
		got := s.next()
		if got.WatchId != 1 || len(got.Events) > 0 {
			t.Fatalf("%v, want progress of watcher 1", got)
		}
		if got.Header.Revision >= last {
			return
		}
	}
}

// A client that begins in the past and wants progress need not wait for a tick to know that it has missed nothing.
func TestProgressAtOnceOfTheQuietPast(t *testing.T) {
	r := newRig(t, nil)
	first := r.put(t, "a", "1")
	last := r.put(t, "other", "1")
	s := r.watch(t)
	for id, start := range []int64{first + 1, first, last + 1, 0} {
		s.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: start, ProgressNotify: true, WatchId: int64(id + 1)})
		if got := s.next(); !got.Created {
			t.Fatalf("%v, want created", got)
		}
		switch start {
		case first + 1:
			if got := s.next(); got.WatchId != 1 || len(got.Events) != 0 || got.Header.Revision != last {
				t.Errorf("%v, want progress at revision %d", got, last)
			}
		case first:
			if got := s.next(); len(got.Events) != 1 {
				t.Errorf("%v, want the event", got)
			}
		}
	}
	// Those that begin at the present or later have nothing to tell.
	r.put(t, "a", "2")
	for range 4 {
		if got := s.next(); len(got.Events) != 1 {
			t.Errorf("%v, want the event", got)
		}
	}
}

func TestFragments(t *testing.T) {
	const limit = 1000
	var events []*mvccpb.Event
	for i := range 50 {
		size := i * 7
		if i == 20 {
			size = 3 * limit // too large for any fragment
		}
		events = append(events, &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: fmt.Append(nil, i), Value: bytes.Repeat([]byte{1}, size)}})
	}
	header := &pb.ResponseHeader{ClusterId: 1 << 63, MemberId: 1 << 63, Revision: 1 << 40, RaftTerm: 1 << 20}
	var joined []*mvccpb.Event
	parts := slices.Collect(fragments(&pb.WatchResponse{Header: header, WatchId: 7, Events: events}, limit))
	for i, part := range parts {
		if size := proto.Size(part); size > limit && len(part.Events) > 1 {
			t.Errorf("part %d has %d bytes, want at most %d", i, size, limit)
		}
		if part.WatchId != 7 || part.Header != header || part.Fragment != (i < len(parts)-1) {
			t.Errorf("part %d of %d: id %d, fragment %t", i, len(parts), part.WatchId, part.Fragment)
		}
		joined = append(joined, part.Events...)
	}
	if !slices.Equal(joined, events) {
		t.Errorf("the parts hold %d events, want the %d of the whole in order", len(joined), len(events))
	}
	if whole := slices.Collect(fragments(&pb.WatchResponse{Header: header, Events: events[:1]}, limit)); len(whole) != 1 || whole[0].Fragment {
		t.Errorf("a small response makes %d parts", len(whole))
	}
}

// The deletion of many keys is one revision. Its events, with what was there
// before, are larger than any request.
func TestRevisionIsSentWholeOrInMarkedFragments(t *testing.T) {
	r := newRig(t, nil)
	const keys = 100
	for i := range keys {
		r.put(t, fmt.Sprintf("k%02d", i), strings.Repeat("v", 32<<10))
	}
	watch := func(fragment bool) *stream {
		s := r.watch(t)
		s.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), PrevKv: true, Fragment: fragment})
		s.next()
		return s
	}
	whole, parts := watch(false), watch(true)
	if _, err := r.client.Delete(t.Context(), "k", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if got := whole.next(); len(got.Events) != keys || got.Fragment {
		t.Errorf("%d events, fragment %t, in the first response; want all %d", len(got.Events), got.Fragment, keys)
	}
	responses := 0
	for events := 0; events < keys; responses++ {
		got := parts.next()
		events += len(got.Events)
		if got.Fragment != (events < keys) {
			t.Errorf("response %d, up to event %d of %d: fragment %t", responses, events, keys, got.Fragment)
		}
	}
	if responses < 2 {
		t.Errorf("%d responses to the watcher that takes fragments, want several", responses)
	}
}

// One watcher with much history must not keep the others of its stream waiting
// until all of it is sent.
func TestWatchersOfAStreamTakeTurns(t *testing.T) {
	r := newRig(t, nil)
	for i := range 64 {
		r.put(t, "much", fmt.Sprint(i)+strings.Repeat("v", 64<<10))
	}
	r.put(t, "little", "1")
	s := r.watch(t)
	s.create(&pb.WatchCreateRequest{Key: []byte("much"), StartRevision: 1})
	s.create(&pb.WatchCreateRequest{Key: []byte("little"), StartRevision: 1})
	before := 0
	for {
		got := s.next()
		if got.WatchId == 1 && len(got.Events) > 0 {
			break
		}
		before += len(got.Events)
	}
	if before >= 64 {
		t.Errorf("the second watcher waited for all %d events of the first", before)
	}
}

func TestOfficialClientWatches(t *testing.T) {
	r := newRig(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := r.client.Watch(clientv3.WithRequireLeader(ctx), "a", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithFragment(), clientv3.WithCreatedNotify())
	if got := <-watch; !got.Created {
		t.Fatalf("first response %v, want created", got)
	}
	const writes = 200
	var want, got []string
	for i := range writes {
		key := fmt.Sprintf("a%d", i)
		r.put(t, key, "x")
		want = append(want, key)
	}
	for len(got) < writes {
		response, ok := <-watch
		if !ok || response.Err() != nil {
			t.Fatalf("watch ended: %v", response.Err())
		}
		for _, e := range response.Events {
			got = append(got, string(e.Kv.Key))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}
