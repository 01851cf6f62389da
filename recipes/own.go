package recipes

import (
	"encoding/json"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ownWatchPause spares what is held for a moment the watch of its own key. It bounds how much later its end can be seen.
const ownWatchPause = 5 * time.Millisecond

// watchOwn ends e.ctx when somebody deletes the key.
func (e *entry) watchOwn() {
	known := e.revision // at which it was there and nobody asked
	for pause := ownWatchPause; sleep(e.ctx, pause); pause, known = rewatchPause, 0 {
		if e.seenDeleted(known) {
			e.cancel(e.lost())
		}
	}
}

// seenDeleted watches the key and what stands below it, and reports whether it was deleted; false means that the watch
// broke. As in awaitGone, the watch starts at the present, and a read follows unless nothing has happened since known.
func (e *entry) seenDeleted(known int64) bool {
	below := clientv3.WithPrefix()
	if e.mark == "" {
		below = clientv3.WithFilterPut()
	}
	for resp := range e.session.watch(e.ctx, e.key, below) {
		if resp.Created && resp.Header.Revision != known {
			e.recheck()
		}
		for _, event := range resp.Events {
			switch deleted := event.Type == mvccpb.Event_DELETE; {
			case deleted && string(event.Kv.Key) == e.key:
				return true
			case !deleted && string(event.Kv.Key) == e.key+askSuffix:
				e.ask(event.Kv)
			}
		}
	}
	return false
}

// recheck ends e.ctx if e is not there any more, and looks whether somebody has asked to release it.
func (e *entry) recheck() {
	var ops []clientv3.Op
	if e.mark != "" {
		ops = append(ops, clientv3.OpGet(e.key+askSuffix))
	}
	resp, err := e.readAll(e.ctx, ops...)
	if err != nil {
		return
	}
	if asked := first(resp); asked != nil {
		e.ask(asked)
	}
}

// ask tells the owner that somebody asks for a release.
func (e *entry) ask(kv *mvccpb.KeyValue) {
	asker := new(Holder)
	_ = json.Unmarshal(kv.Value, asker) // for people to read; nothing depends on it
	e.asker.Store(asker)
	e.askOnce.Do(func() { close(e.asked) })
}
