package slots

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	attemptTimeout = 3 * time.Second // of one request; a member may have died with it
	firstPause     = 50 * time.Millisecond
	longestPause   = time.Second
)

// try counts the attempts of one operation.
type try struct {
	what    string
	pause   time.Duration
	unknown bool // a commit had no answer: it may have taken place
}

// until repeats attempt until it is done. An attempt that is not done and has no
// error has lost a race; one that is not done and has an error is repeated if
// that may help. The error of one that is done is returned as it is.
func (t *try) until(ctx context.Context, attempt func(t *try) (done bool, err error)) error {
	for {
		done, err := attempt(t)
		if done {
			return err
		}
		if err := t.again(ctx, err); err != nil {
			return err
		}
	}
}

// commit runs one conditional write and reports whether it took place. An error
// leaves that open, and t remembers it.
func (t *try) commit(ctx context.Context, client *clientv3.Client, conditions []clientv3.Cmp, ops ...clientv3.Op) (done bool, err error) {
	revision, err := t.commitAt(ctx, client, conditions, ops...)
	return revision != 0, err
}

// commitAt is commit with the revision of the write, 0 when its conditions did not hold.
func (t *try) commitAt(ctx context.Context, client *clientv3.Client, conditions []clientv3.Cmp, ops ...clientv3.Op) (revision int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := client.Txn(ctx).If(conditions...).Then(ops...).Commit()
	if err != nil {
		t.unknown = true
		return 0, err
	}
	if !resp.Succeeded {
		return 0, nil
	}
	return resp.Header.Revision, nil
}

// again returns nil when the operation is worth another attempt, and otherwise
// the error to give up with. A nil cause is a lost race with another writer:
// somebody made progress, so there is nothing to wait for.
func (t *try) again(ctx context.Context, cause error) error {
	if cause == nil {
		return nil
	}
	if ctx.Err() == nil && !transient(cause) {
		return fmt.Errorf("%s: %w", t.what, cause)
	}
	pause := time.NewTimer(t.pause)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		// The cause says more than the end of the context does.
		if errors.Is(cause, ctx.Err()) {
			return fmt.Errorf("%s: %w", t.what, cause)
		}
		return fmt.Errorf("%s: %w: %w", t.what, ctx.Err(), cause)
	case <-pause.C:
		t.pause = min(2*t.pause, longestPause)
		return nil
	}
}

// transient reports whether the same request may succeed later, perhaps with
// another member.
func transient(err error) bool {
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return e.Code() == codes.Unavailable || e.Code() == codes.ResourceExhausted && !errors.Is(err, rpctypes.ErrNoSpace)
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
}
