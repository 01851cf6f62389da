package main

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// event is one change of one key.
type event struct {
	revision int64
	key      string
	value    string // empty when deleted
	deleted  bool
}

func newEvent(e *clientv3.Event) event {
	return event{e.Kv.ModRevision, string(e.Kv.Key), string(e.Kv.Value), e.Type == clientv3.EventTypeDelete}
}

// readHistory reads every change of the store, from revision 1 to the present.
func readHistory(ctx context.Context, client *clientv3.Client) (history []event, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	present, err := client.Get(ctx, counterKey)
	if err != nil {
		return nil, fmt.Errorf("read the present revision: %w", err)
	}
	for resp := range client.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(1)) {
		if err := resp.Err(); err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		for _, e := range resp.Events {
			history = append(history, newEvent(e))
		}
		if n := len(history); n > 0 && history[n-1].revision >= present.Header.Revision {
			return history, nil
		}
	}
	return nil, errors.Join(errors.New("the history ended early"), context.Cause(ctx))
}
