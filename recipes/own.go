package recipes

import (
	"encoding/json"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// shortPast is how many revisions back a watch of several keys may start: the store looks at all that happened since, and
// beyond that a read of the keys costs less.
const shortPast = 1000

// ownWatchPause spares what is held for a moment the watch of its own key. It bounds how much later its end can be seen.
const ownWatchPause = 5 * time.Millisecond

// longestUnwatched bounds the same for who waits in a long line.
const longestUnwatched = 5 * time.Second

// watchBeside is for who watches p alone. In a long line, where a second watch would double what waiting costs, it begins
// the later the longer the line is: there is time, and that the place is lost is seen at the latest when p is gone. done
// ends the waiting for it.
func (e *entry) watchBeside(p place) (done func()) {
	if p.line <= shortLine {
		e.beginWatch(e.revision)
		return func() {}
	}
	late := time.AfterFunc(min(time.Duration(p.line)*ownWatchPause, longestUnwatched), func() { e.beginWatch(0) })
	return func() { late.Stop() }
}

// beginWatch watches the own key from now on. At the revision known it was there and nobody had asked; 0 is unknown.
func (e *entry) beginWatch(known int64) {
	e.watched.Do(func() { e.session.spawn(func() { e.watchOwn(known) }) })
}

// watchOwn ends e.ctx when somebody deletes the key.
func (e *entry) watchOwn(known int64) {
	for pause := ownWatchPause; sleep(e.ctx, pause); pause, known = rewatchPause, 0 {
		if e.seenDeleted(known) {
			e.cancel(e.lost())
		}
	}
}

// seenDeleted watches the key and what stands below it, and reports whether it was deleted; false means that the watch
// broke. As in awaitGone, the watch starts after known, or at the present and a read follows unless nothing has happened
// since.
func (e *entry) seenDeleted(known int64) bool {
	opts := []clientv3.OpOption{clientv3.WithPrefix()}
	if e.mark == "" {
		opts = []clientv3.OpOption{clientv3.WithFilterPut()}
	}
	prompt := known != 0 && e.session.prompt.Load() && e.answer.Load().GetRevision()-known <= shortPast
	if prompt {
		opts = append(opts, clientv3.WithRev(known+1))
	}
	for resp := range e.session.watch(e.ctx, e.key, opts...) {
		if resp.Created && !prompt && resp.Header.Revision != known {
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
