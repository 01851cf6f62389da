package rpc

import (
	"bytes"
	"context"

	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Why a watcher was not created, in etcd's words: clients show them.
const (
	reasonDuplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
	reasonEmptyRange  = "mvcc: watcher range is empty"
)

// create adds a watcher and tells the client so before any of its events.
func (ws *watchStream) create(ctx context.Context, r *pb.WatchCreateRequest) error {
	if len(r.Key) == 0 {
		r.Key = []byte{0}
	}
	if r.GetStartRevision() < 0 {
		return ws.refuse(rpctypes.ErrCompacted.Error())
	}
	switch _, err := ws.permit(ctx, r); {
	case isRefusal(err):
		return ws.refuse(wireError(err).Error())
	case err != nil:
		return err
	}
	key, end := r.GetKey(), r.GetRangeEnd()
	fromKey := len(end) == 1 && end[0] == 0
	switch {
	case len(end) > 0 && !fromKey && bytes.Compare(key, end) >= 0:
		return ws.refuse(reasonEmptyRange)
	case r.GetWatchId() != 0 && ws.watchers[r.GetWatchId()] != nil:
		return ws.refuse(reasonDuplicateID)
	}
	w := &watcher{
		id:             r.GetWatchId(),
		startRevision:  r.GetStartRevision(),
		fragment:       r.GetFragment(),
		progressNotify: r.GetProgressNotify(),
		idle:           true,
	}
	if w.id == 0 {
		w.id = ws.freeID()
	}
	options := kvcore.WatchOptions{Key: key, RangeEnd: end, StartRevision: w.startRevision, PrevKV: r.GetPrevKv()}
	for _, filter := range r.GetFilters() {
		options.NoPut = options.NoPut || filter == pb.WatchCreateRequest_NOPUT
		options.NoDelete = options.NoDelete || filter == pb.WatchCreateRequest_NODELETE
	}
	return ws.open(w, options)
}

// freeID returns the next watch id that no watcher of the stream has.
func (ws *watchStream) freeID() int64 {
	for ws.watchers[ws.nextID] != nil {
		ws.nextID++
	}
	ws.nextID++
	return ws.nextID - 1
}

func (ws *watchStream) open(w *watcher, options kvcore.WatchOptions) error {
	cursor, err := ws.Store.Watch(options, func() { ws.markReady(w) })
	if err != nil {
		return err
	}
	w.cursor = cursor
	ws.watchers[w.id] = w
	created := &pb.WatchResponse{Header: ws.header(ws.Store.Revision()), WatchId: w.id, Created: true}
	// Who wants progress and begins in the past hears at once that nothing was missed.
	w.progressDue = w.progressNotify && 0 < w.startRevision && w.startRevision <= created.Header.Revision
	if w.startRevision == 0 {
		// A client that loses the stream before the first event resumes from
		// this revision: it must be the one that the cursor stands at.
		created.Header.Revision = cursor.Revision()
	}
	if err := ws.send(created); err != nil {
		return err
	}
	ws.markReady(w)
	return nil
}

// refuse answers a request that makes no watcher.
func (ws *watchStream) refuse(reason string) error {
	return ws.send(&pb.WatchResponse{
		Header:       ws.header(ws.Store.Revision()),
		WatchId:      invalidWatchID,
		Created:      true,
		Canceled:     true,
		CancelReason: reason,
	})
}

// cancel ends a watcher at the client's wish. An id that is not known is no
// error: the watcher may have ended by itself.
func (ws *watchStream) cancel(id int64) error {
	w := ws.watchers[id]
	if w == nil {
		return nil
	}
	ws.remove(w)
	if err := ws.send(&pb.WatchResponse{Header: ws.header(ws.Store.Revision()), WatchId: id, Canceled: true}); err != nil {
		return err
	}
	return ws.answerProgress() // it may have been the one that was waited for
}
