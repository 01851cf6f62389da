package recipes

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Bounds and defaults of latches.
const (
	DefaultLatchPrefix = "/coordd/latches"
	MaxLatchCount      = 10_000
)

// LatchOptions are a latch's options; a zero field means its default.
type LatchOptions struct {
	// Prefix is where the latch's keys live, by default DefaultLatchPrefix. It does not end in a slash and has at most
	// MaxPrefixBytes.
	Prefix string
}

// Defaults fills the zero fields.
func (o *LatchOptions) Defaults() {
	if o.Prefix == "" {
		o.Prefix = DefaultLatchPrefix
	}
}

// Validate names the first field that is out of range.
func (o *LatchOptions) Validate() error { return validPlacement(o.Prefix, "", "") }

// Latch names a count of operations that are to be done: Set makes it, CountDown says that one of them was done, and Wait
// returns when all were. What was done is a set of operation ids, so saying it twice counts once, also after a crash and
// by another process. Nothing of it depends on a lease: a latch stands, open or not, until Delete. A Latch holds no state
// and is safe for concurrent use.
type Latch struct {
	session *Session
	path    string
	err     error // of the name or the options; every call returns it
}

// NewLatch names the latch; nil options mean defaults. A name is 1 to MaxNameBytes of any bytes. An invalid name or option
// is the error of the first use.
func NewLatch(s *Session, name string, o *LatchOptions) *Latch {
	var options LatchOptions
	if o != nil {
		options = *o
	}
	options.Defaults()
	path, err := pathOf(options.Prefix, name)
	return &Latch{session: s, path: path, err: errors.Join(options.Validate(), err)}
}

func (l *Latch) cell() cell { return cell{l.session, l.path + "/count"} }

// done is what the keys of the operations done begin with.
func (l *Latch) done() string { return l.path + "/d/" }

// Set makes the latch with a count of 1 to MaxLatchCount, in two commits. It changes nothing when the latch stands with
// that count, so everybody who takes part may call it first, and returns ErrLatchCount when it stands with another one.
func (l *Latch) Set(ctx context.Context, count int) error {
	if count < 1 || count > MaxLatchCount {
		return fmt.Errorf("recipes: latch count of %d is not within 1 to %d", count, MaxLatchCount)
	}
	return l.perform(ctx, "set", func(ctx context.Context) error {
		value := strconv.Itoa(count)
		found, err := l.cell().fill(ctx, value)
		if err == nil && string(found.Value) != value {
			return fmt.Errorf("%w: %q, not %d", ErrLatchCount, found.Value, count)
		}
		return err
	})
}

// CountDown says that the operation was done, in one commit, and in none when that was said before or the latch is open.
// An id is 1 to MaxNameBytes of any bytes. It returns ErrNoLatch when the latch is not set. After any other error the
// operation may or may not be counted; say it again.
func (l *Latch) CountDown(ctx context.Context, operationID string) error {
	return l.perform(ctx, "count down", func(ctx context.Context) error {
		key, err := pathOf(l.path+"/d", operationID)
		if err != nil {
			return fmt.Errorf("operation id: %w", err)
		}
		now, err := l.look(ctx, clientv3.OpGet(key, clientv3.WithKeysOnly()))
		if err != nil || now.remaining == 0 || now.found != nil {
			return err
		}
		resp, err := l.session.transact(ctx,
			[]clientv3.Cmp{unchanged(now.count), clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
			[]clientv3.Op{clientv3.OpPut(key, "")}, []clientv3.Op{clientv3.OpGet(key, clientv3.WithKeysOnly())})
		if err == nil && !resp.Succeeded && only(resp, 0) == nil {
			return ErrNoLatch // deleted, and with it what an earlier try may have counted
		}
		return err
	})
}

// Count returns how many operations remain, linearizably, 0 when the latch is open. It returns ErrNoLatch when the latch
// is not set.
func (l *Latch) Count(ctx context.Context) (remaining int, err error) {
	err = l.perform(ctx, "count", func(ctx context.Context) error {
		now, err := l.look(ctx)
		remaining = now.remaining
		return err
	})
	return remaining, err
}

// Wait returns nil when the latch is open, and ErrNoLatch when it is not set or is deleted meanwhile. It survives broken
// watches, compactions and the loss of members for as long as the session lives; an error never means that the latch is
// open. It writes nothing and takes in one event for each operation.
func (l *Latch) Wait(ctx context.Context) error {
	return l.perform(ctx, "wait for", func(ctx context.Context) error {
		return l.session.follow(ctx, l.path+"/", &latchView{latch: l}, clientv3.WithPrefix())
	})
}

// Delete deletes the latch and all that was counted, in one commit, and does nothing when there is none. Those who wait
// get ErrNoLatch, and a CountDown meant for the deleted latch never counts for a later one of the name. It does not undo
// a Set that began after it.
func (l *Latch) Delete(ctx context.Context) error {
	return l.perform(ctx, "delete", func(ctx context.Context) error {
		return l.cell().clear(ctx, clientv3.OpDelete(l.done(), clientv3.WithPrefix()))
	})
}

func (l *Latch) perform(ctx context.Context, what string, call func(context.Context) error) error {
	if l.err != nil {
		return l.err
	}
	return l.session.perform(ctx, what+" latch "+l.path, call)
}

// latchState is a latch in one snapshot of the store.
type latchState struct {
	revision  int64
	count     *mvccpb.KeyValue
	remaining int
	found     *mvccpb.KeyValue // by the operation that was read along
}

// look reads the latch, and in the same snapshot the key of along.
func (l *Latch) look(ctx context.Context, along ...clientv3.Op) (now latchState, err error) {
	resp, err := l.session.transact(ctx, nil, append([]clientv3.Op{
		clientv3.OpGet(l.cell().key), clientv3.OpGet(l.done(), clientv3.WithPrefix(), clientv3.WithCountOnly()),
	}, along...), nil)
	if err != nil {
		return now, err
	}
	now.revision, now.count = resp.Header.Revision, only(resp, 0)
	if len(now.count.GetValue()) == 0 {
		return now, ErrNoLatch
	}
	count, err := strconv.Atoi(string(now.count.Value))
	if err != nil || count < 1 || count > MaxLatchCount {
		return now, fmt.Errorf("value of %s: %.40q is no number from 1 to %d", now.count.Key, now.count.Value, MaxLatchCount)
	}
	now.remaining = max(0, count-int(resp.Responses[1].GetResponseRange().Count))
	if len(along) > 0 {
		now.found = only(resp, 2)
	}
	return now, nil
}

// latchView is how those who wait see a latch.
type latchView struct {
	latch     *Latch
	remaining int
}

func (v *latchView) look(ctx context.Context) (revision int64, open bool, err error) {
	now, err := v.latch.look(ctx)
	v.remaining = now.remaining
	return now.revision, now.remaining == 0, err
}

func (v *latchView) take(_ context.Context, changes []*clientv3.Event) (open bool, err error) {
	for _, ev := range changes {
		switch {
		case string(ev.Kv.Key) == v.latch.cell().key:
			return false, ErrNoLatch // what stands is never changed, only deleted
		case ev.IsCreate():
			v.remaining--
		case ev.Type == clientv3.EventTypeDelete:
			v.remaining++
		}
		if v.remaining <= 0 {
			return true, nil
		}
	}
	return false, nil
}
