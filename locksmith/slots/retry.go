package slots

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
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

func (g *Group) newTry(what string) *try {
	return &try{what: fmt.Sprintf("slots: group %s: %s", g.name, what), pause: firstPause}
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
