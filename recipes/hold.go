package recipes

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes/fence"
)

// Hold is one acquisition of a lock. It is safe for concurrent use.
type Hold struct {
	entry   *entry
	mode    fence.Mode
	granted int64 // revision of the grant
	token   fence.Token
	slots   slots // of a semaphore
	header  *pb.ResponseHeader

	release  sync.Mutex // held through an Unlock, guards the two below
	released bool       // confirmed, with result
	result   error
}

func newHold(e *entry, mode fence.Mode, granted int64) *Hold {
	h := &Hold{entry: e, mode: mode, granted: granted, header: e.answer.Load()}
	h.token = h.slotToken("")
	return h
}

// newSlotHold is of a semaphore. Its token is that of the lowest of its slots.
func newSlotHold(e *entry, taken slots) *Hold {
	h := newHold(e, fence.Exclusive, e.revision)
	h.slots = taken
	h.token = h.slotToken(strconv.FormatInt(taken[0].first, 10))
	return h
}

// Tokens yields Token, and of a semaphore one for each slot that is held. A resource for which the weight matters, because
// it lets at most so much in, compares all of them.
func (h *Hold) Tokens() iter.Seq[fence.Token] {
	return func(yield func(fence.Token) bool) {
		if h.slots == nil {
			yield(h.token)
			return
		}
		for slot := range h.slots.numbers() {
			if !yield(h.slotToken(strconv.FormatInt(slot, 10))) {
				return
			}
		}
	}
}

func (h *Hold) slotToken(slot string) fence.Token {
	e := h.entry
	token, err := fence.New(fence.Fields{
		Cluster: e.cluster, Epoch: e.session.epoch.number, Mode: h.mode, Resource: e.path,
		Revision: h.granted, Slot: slot, Key: strings.TrimPrefix(e.key[len(e.path):], "/"),
	})
	if err != nil {
		panic("recipes: no token for what was granted: " + err.Error())
	}
	return token
}

// Context ends when ownership ends, with a *LostError as its cause, and when Unlock is called, with ErrUnlocked. A process
// that does not run sees it late: Valid is exact.
func (h *Hold) Context() context.Context { return h.entry.ctx }

// Token identifies this acquisition to resources outside the store. Tokens of later acquisitions are greater.
func (h *Hold) Token() fence.Token { return h.token }

// Key is the holder's key in the store.
func (h *Hold) Key() string { return h.entry.key }

// Header is that of the answer by which the store granted ownership. It is not to be changed.
func (h *Hold) Header() *pb.ResponseHeader { return h.header }

// Guard is true in a transaction exactly while the store has this hold as the owner. Put it into the If of every
// transaction that only the owner may commit.
func (h *Hold) Guard() clientv3.Cmp { return h.entry.guard() }

// Valid returns nil while, as far as this process can know, ownership lasts. It compares clocks and does no I/O. The
// error is a *LostError, or ErrUnlocked after Unlock was called.
func (h *Hold) Valid() error {
	if h.entry.ctx.Err() != nil {
		return context.Cause(h.entry.ctx)
	}
	return h.entry.session.Valid()
}

// Remaining is the time until ownership ends unless the session is renewed, by the local clock; 0 once it has ended.
func (h *Hold) Remaining() time.Duration {
	if h.entry.ctx.Err() != nil {
		return 0
	}
	return h.entry.session.Remaining()
}

// ReleaseAsked is closed when somebody asks the owner to release: see Session.AskToRelease. Whether to follow is the
// owner's choice.
func (h *Hold) ReleaseAsked() <-chan struct{} { return h.entry.asked }

// Asker is who asked for the release last, and why; nil before ReleaseAsked is closed.
func (h *Hold) Asker() *Holder { return h.entry.asker.Load() }

// Verify asks the store, linearizably, whether this hold was the owner at a moment during the call. The error is a
// *LostError if not, ErrUnlocked after Unlock, and another one when the store did not answer until ctx ended.
func (h *Hold) Verify(ctx context.Context) error {
	if err := h.Valid(); err != nil {
		return err
	}
	ctx, stop := join(ctx, h.entry.ctx)
	defer stop()
	if _, err := h.entry.read(ctx, clientv3.OpGet(h.entry.key, clientv3.WithCountOnly())); err != nil {
		return fmt.Errorf("recipes: verify %s: %w", h.entry.path, err)
	}
	return nil
}

// end ends the hold and leaves what it holds, for another hold to take over. The error says why it had ended before.
func (h *Hold) end() error {
	h.release.Lock()
	defer h.release.Unlock()
	if err := h.Valid(); err != nil {
		return err
	}
	h.entry.cancel(ErrUnlocked)
	h.released = true
	return nil
}

// Unlock gives the lock up; from the call on the hold is over, whatever it returns. nil means that the next waiter has the
// lock. A *LostError means that ownership had ended before. Any other error means that the store did not confirm until ctx
// ended; the session keeps trying, and so may the caller. Calls after a confirmed one return its result; calls at the same
// time wait for each other. Call it after a loss too: what is left then, as the lock delay where only the key was deleted,
// keeps others out until it is called or the session ends.
func (h *Hold) Unlock(ctx context.Context) error {
	e := h.entry
	e.cancel(ErrUnlocked)
	h.release.Lock()
	defer h.release.Unlock()
	if h.released {
		return h.result
	}
	ctx, stop := join(ctx, e.session.ctx)
	defer stop()
	var held bool
	err := e.session.retry(ctx, func(ctx context.Context) (err error) {
		held, err = e.remove(ctx)
		return err
	})
	switch {
	case errors.Is(err, ErrLost):
		h.released, h.result = true, err
	case err != nil:
		e.session.janitor.adopt(e)
		return fmt.Errorf("recipes: unlock %s is not confirmed: %w", e.path, err)
	case held:
		h.released = true
	default:
		h.released, h.result = true, e.lost()
	}
	if e.mayReturn() {
		e.session.janitor.adopt(e)
	}
	return h.result
}
