package recipes

import (
	"context"
	"encoding/json"
	"errors"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// watchOwn ends e.ctx when somebody deletes the key. It starts after the enqueue's revision and so misses nothing.
func (e *entry) watchOwn() {
	from := e.revision + 1
	for {
		if e.seenDeleted(from) {
			e.cancel(e.lost())
			return
		}
		if !sleep(e.ctx, rewatchPause) {
			return
		}
		from = e.recheck(from)
	}
}

// recheck looks whether e is still in the queue after its watch broke, perhaps because the watch's position was compacted
// away, and returns the revision to watch from.
func (e *entry) recheck(from int64) int64 {
	err := e.session.retry(e.ctx, func(ctx context.Context) error {
		txn := e.session.client.Txn(ctx).If(e.guard())
		if e.mark != "" {
			txn = txn.Then(clientv3.OpGet(e.key + askSuffix))
		}
		resp, err := txn.Commit()
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			return e.lost()
		}
		if asked := first(resp); asked != nil {
			e.ask(asked)
		}
		from = resp.Header.Revision + 1
		return nil
	})
	if errors.Is(err, ErrLost) {
		e.cancel(err)
	}
	return from
}

// seenDeleted watches the key and what stands below it, and reports whether it was deleted; false means that the watch
// broke.
func (e *entry) seenDeleted(from int64) bool {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(e.ctx))
	defer cancel()
	opts := []clientv3.OpOption{clientv3.WithRev(from)}
	if e.mark == "" {
		opts = append(opts, clientv3.WithFilterPut())
	} else {
		opts = append(opts, clientv3.WithPrefix())
	}
	for resp := range e.session.client.Watch(ctx, e.key, opts...) {
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

// ask tells the owner that somebody asks for a release.
func (e *entry) ask(kv *mvccpb.KeyValue) {
	e.askOnce.Do(func() {
		asker := new(Holder)
		_ = json.Unmarshal(kv.Value, asker) // for people to read; nothing depends on it
		e.asker.Store(asker)
		close(e.asked)
	})
}
