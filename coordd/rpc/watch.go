package rpc

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

const (
	// turnBytes is about what one watcher of a stream may send before the others
	// of that stream have their turn.
	turnBytes = 256 << 10
	// progressRetryInterval is how soon a progress request is looked at again
	// that had to wait for a watcher which begins in the future.
	progressRetryInterval = 100 * time.Millisecond
	// invalidWatchID stands in responses that are about no single watcher.
	invalidWatchID = -1
)

// watchServer is etcdserverpb.Watch.
type watchServer struct {
	pb.UnimplementedWatchServer
	*Server
}

func (s *watchServer) Watch(stream pb.Watch_WatchServer) error {
	ctx := stream.Context()
	requests, failed := receive(ctx, stream.Recv, isEOF)
	ws := newWatchStream(s.Server, stream.Send)
	defer ws.close()
	err := ws.run(ctx, requests, failed)
	if errors.Is(err, context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return err
}

// watchStream is the watchers of one gRPC stream. One goroutine, run's, owns all
// but the ready list: it answers requests and pulls events from the watchers'
// cursors, so that nothing is queued for a client that does not read.
type watchStream struct {
	*Server
	send     func(*pb.WatchResponse) error
	watchers map[int64]*watcher
	nextID   int64

	progress      progressRequest
	retryProgress <-chan time.Time // when to look again whether progress can be answered

	wake  chan struct{} // pokes run: the ready list is not empty; capacity 1
	mu    sync.Mutex
	ready []*watcher // in turn; bound: one entry a watcher
}

// watcher is one watch of a stream.
type watcher struct {
	id             int64
	cursor         *kvcore.Cursor
	startRevision  int64
	fragment       bool
	progressNotify bool
	idle           bool // has sent nothing since the stream's last progress tick
	progressDue    bool // shall send a progress response when it has caught up
	queued         bool // is in the ready list; guarded by watchStream.mu
}

func newWatchStream(s *Server, send func(*pb.WatchResponse) error) *watchStream {
	return &watchStream{Server: s, send: send, watchers: map[int64]*watcher{}, wake: make(chan struct{}, 1)}
}

func (ws *watchStream) close() {
	for _, w := range ws.watchers {
		w.cursor.Close()
	}
}

func (ws *watchStream) run(ctx context.Context, requests <-chan *pb.WatchRequest, failed <-chan error) error {
	// Streams that began together do not stay together.
	interval := ws.ProgressInterval + rand.N(ws.ProgressInterval/10+1)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		var err error
		select {
		case r, ok := <-requests:
			if !ok {
				requests = nil // the client only listens from now on
				continue
			}
			err = ws.handle(ctx, r)
		case <-ws.wake:
			err = ws.serveNext()
		case <-ticker.C:
			ws.progressTick()
		case <-ws.retryProgress:
			ws.retryProgress = nil
			err = ws.answerProgress()
		case err = <-failed:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func (ws *watchStream) handle(ctx context.Context, r *pb.WatchRequest) error {
	switch {
	case r.GetCreateRequest() != nil:
		return ws.create(ctx, r.GetCreateRequest())
	case r.GetCancelRequest() != nil:
		return ws.cancel(r.GetCancelRequest().GetWatchId())
	case r.GetProgressRequest() != nil:
		return ws.requestProgress()
	}
	return nil
}

// markReady puts the watcher at the end of the ready list. It is what a cursor
// calls when it has something.
func (ws *watchStream) markReady(w *watcher) {
	ws.mu.Lock()
	if !w.queued {
		w.queued = true
		ws.ready = append(ws.ready, w)
	}
	ws.mu.Unlock()
	ws.poke()
}

func (ws *watchStream) poke() {
	select {
	case ws.wake <- struct{}{}:
	default:
	}
}

// takeReady returns the watcher whose turn it is, or nil, and whether others wait.
func (ws *watchStream) takeReady() (w *watcher, more bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.ready) == 0 {
		return nil, false
	}
	w = ws.ready[0]
	ws.ready[0] = nil
	ws.ready = ws.ready[1:]
	w.queued = false
	return w, len(ws.ready) > 0
}

// serveNext gives one watcher its turn.
func (ws *watchStream) serveNext() error {
	w, more := ws.takeReady()
	if more {
		ws.poke()
	}
	if w == nil || ws.watchers[w.id] != w {
		return nil
	}
	if err := ws.serve(w); err != nil {
		return err
	}
	return ws.answerProgress()
}

// serve sends what the watcher's cursor has next. The watcher stays ready until
// it has caught up: from then on its cursor calls.
func (ws *watchStream) serve(w *watcher) error {
	events, more, err := w.cursor.Next(turnBytes)
	if errors.Is(err, kvcore.ErrCompacted) {
		return ws.cancelCompacted(w)
	}
	if err != nil {
		return err
	}
	if more {
		ws.markReady(w)
	}
	reached := w.cursor.Revision()
	if len(events) > 0 {
		w.idle, w.progressDue = false, false
		return ws.sendEvents(w, &pb.WatchResponse{Header: ws.header(reached), WatchId: w.id, Events: events})
	}
	if w.progressDue && !more && reached >= w.startRevision {
		w.progressDue = false
		return ws.send(&pb.WatchResponse{Header: ws.header(reached), WatchId: w.id})
	}
	return nil
}

func (ws *watchStream) sendEvents(w *watcher, r *pb.WatchResponse) error {
	if !w.fragment {
		return ws.send(r)
	}
	for part := range fragments(r, ws.MaxRequestBytes) {
		if err := ws.send(part); err != nil {
			return err
		}
	}
	return nil
}

func (ws *watchStream) cancelCompacted(w *watcher) error {
	compacted := w.cursor.CompactRevision()
	ws.remove(w)
	return ws.send(&pb.WatchResponse{
		Header:          ws.header(0), // as in etcd, without a revision
		WatchId:         w.id,
		Canceled:        true,
		CompactRevision: compacted,
	})
}

func (ws *watchStream) remove(w *watcher) {
	delete(ws.watchers, w.id)
	w.cursor.Close()
}
