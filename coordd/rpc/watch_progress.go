package rpc

import (
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// progressTick makes every watcher that wants progress and has been idle since
// the tick before report it.
func (ws *watchStream) progressTick() {
	for _, w := range ws.watchers {
		if w.progressNotify && w.idle {
			w.progressDue = true
			ws.markReady(w)
		}
		w.idle = true
	}
}

// progressRequest is a client's question how far all watchers of its stream are.
type progressRequest struct {
	wanted   bool
	again    bool  // asked once more while wanted
	revision int64 // the store's when it was asked: the least to answer with
}

// requestProgress begins to answer a client that asks how far all its watchers
// are. A stream without watchers has no answer.
func (ws *watchStream) requestProgress() error {
	if ws.progress.wanted {
		ws.progress.again = true
		return nil
	}
	ws.progress = progressRequest{wanted: len(ws.watchers) > 0, revision: ws.Store.Revision()}
	return ws.answerProgress()
}

// answerProgress answers the client's question once every watcher has sent all
// that the store held when it was asked, with the revision that all have
// reached. A watcher that begins in the future holds the answer up.
func (ws *watchStream) answerProgress() error {
	if !ws.progress.wanted || ws.retryProgress != nil {
		return nil
	}
	all := int64(math.MaxInt64)
	for _, w := range ws.watchers {
		reached := w.cursor.Revision()
		if reached < w.startRevision {
			// No cursor calls when it comes to its beginning.
			ws.retryProgress = time.After(progressRetryInterval)
			return nil
		}
		if all = min(all, reached); all < ws.progress.revision {
			return nil // it is ready, and has its turn before the next look
		}
	}
	again := ws.progress.again
	ws.progress = progressRequest{}
	if len(ws.watchers) == 0 {
		return nil
	}
	if err := ws.send(&pb.WatchResponse{Header: ws.header(all), WatchId: invalidWatchID}); err != nil || !again {
		return err
	}
	return ws.requestProgress()
}
