package recipes

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// view is what somebody who waits knows of the store.
type view interface {
	// look reads the store afresh, and returns the revision that it read.
	look(ctx context.Context) (revision int64, done bool, err error)
	// take learns the changes since, in order. Those of one revision come together.
	take(ctx context.Context, changes []*clientv3.Event) (done bool, err error)
}

// follow keeps v up to date with the key, or the keys that opts make of it, until v is done. When the watch breaks, or its
// position was compacted away, v looks again: a break says nothing about the keys.
func (s *Session) follow(ctx context.Context, key string, v view, opts ...clientv3.OpOption) error {
	for {
		if done, err := s.followOnce(ctx, key, v, opts); done || err != nil {
			return err
		}
		if !sleep(ctx, rewatchPause) {
			return context.Cause(ctx)
		}
	}
}

// followOnce follows until the watch breaks. The watch starts at the present and the look follows it: a watch from the
// revision of a look would wait for the store to catch it up, 100 ms on etcd.
func (s *Session) followOnce(
	ctx context.Context, key string, v view, opts []clientv3.OpOption,
) (done bool, err error) {
	var looked int64
	for resp := range s.watch(ctx, key, opts...) {
		switch {
		case resp.Created, resp.Err() != nil && ctx.Err() == nil: // what refuses the watch may refuse the look, for good
			looked, done, err = v.look(ctx)
		case len(resp.Events) > 0:
			if news := after(looked, resp.Events); len(news) > 0 {
				done, err = v.take(ctx, news)
			}
		}
		if done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// after drops the events up to the revision.
func after(revision int64, events []*clientv3.Event) []*clientv3.Event {
	for len(events) > 0 && events[0].Kv.ModRevision <= revision {
		events = events[1:]
	}
	return events
}

// perform is one call of a recipe: it ends with the session at the latest. what says what was tried.
func (s *Session) perform(ctx context.Context, what string, call func(context.Context) error) error {
	err := errors.Join(s.Valid(), ctx.Err())
	if err == nil {
		joined, stop := join(ctx, s.ctx)
		defer stop()
		err = call(joined)
	}
	if err != nil {
		return fmt.Errorf("recipes: %s: %w", what, err)
	}
	return nil
}

// transact commits a transaction that can be repeated, until it is answered.
func (s *Session) transact(
	ctx context.Context, conditions []clientv3.Cmp, then, otherwise []clientv3.Op,
) (resp *clientv3.TxnResponse, err error) {
	err = s.retry(ctx, func(ctx context.Context) (err error) {
		resp, err = s.client.Txn(ctx).If(conditions...).Then(then...).Else(otherwise...).Commit()
		return err
	})
	return resp, err
}
