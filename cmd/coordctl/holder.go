package main

import (
	"context"
	"fmt"

	"github.com/coordd/coordd/recipes"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// holder is what a lock or a leadership is held with: a lease whose end is noticed before another can have taken over.
type holder struct {
	*recipes.Session
	client *clientv3.Client
	// keys makes etcd's locks and elections with the lease, in the layout of etcdctl and of etcd's client.
	keys *concurrency.Session
}

// newHolder grants the lease; ctx bounds only that. The caller closes it, which revokes the lease.
func newHolder(ctx context.Context, c *clientv3.Client, ttlSeconds int64) (*holder, error) {
	s, err := recipes.NewSession(ctx, c, &recipes.SessionOptions{TTLSeconds: ttlSeconds})
	if err != nil {
		return nil, err
	}
	keys, err := concurrency.NewSession(c, concurrency.WithLease(s.Lease()))
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("keep lease %016x alive: %w", int64(s.Lease()), err)
	}
	keys.Orphan() // it notices the lease's end later than others can: the renewals are left to s
	return &holder{s, c, keys}, nil
}

// until returns a context that ends with ctx, and with the lease: then its cause is that loss.
func (h *holder) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.Context(), func() { cancel(context.Cause(h.Context())) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// deletion returns a channel that delivers an event when someone deletes the holder's key, which was there at rev.
func (h *holder) deletion(ctx context.Context, key string, rev int64) clientv3.WatchChan {
	return h.client.Watch(ctx, key, clientv3.WithRev(rev+1), clientv3.WithFilterPut())
}

// await returns why the holder no longer holds its key: ctx ends, which is no error, the lease does, or someone deletes
// the key.
func (h *holder) await(ctx context.Context, key string, rev int64) error {
	ctx, cancel := h.until(ctx)
	defer cancel()
	deleted := h.deletion(ctx, key, rev)
	for {
		select {
		case <-ctx.Done():
			return h.Valid()
		case resp, ok := <-deleted:
			if len(resp.Events) > 0 {
				return fmt.Errorf("someone deleted the key %s", key)
			}
			if !ok || resp.Canceled {
				deleted = nil // not permitted, perhaps: the lease alone must tell
			}
		}
	}
}
