package recipes

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes/fence"
)

// RWMutex names a fenced lock that one writer or any number of readers hold. It is first come, first served: a reader that
// comes after a waiting writer waits for it. It holds no state, excludes a Mutex of the same name, and is safe for
// concurrent use.
type RWMutex struct{ lock }

// NewRWMutex names the lock, as NewMutex does; there is none in etcd's layout.
func NewRWMutex(s *Session, name string, o *MutexOptions) *RWMutex {
	m := &RWMutex{newLock(s, name, o)}
	if m.etcdLayout {
		m.err = errors.New("recipes: there is no read-write lock in etcd's layout")
	}
	return m
}

// Lock waits for the lock to write, as Mutex.Lock does.
func (m *RWMutex) Lock(ctx context.Context) (*Hold, error) {
	return m.acquire(ctx, m.writer, fence.Exclusive, false)
}

// TryLock takes the lock to write if nobody holds it or waits for it, and returns ErrLocked otherwise.
func (m *RWMutex) TryLock(ctx context.Context) (*Hold, error) {
	return m.acquire(ctx, m.writer, fence.Exclusive, true)
}

// RLock waits for the lock to read: for the writers that came before.
func (m *RWMutex) RLock(ctx context.Context) (*Hold, error) {
	return m.acquire(ctx, m.reader, fence.Shared, false)
}

// TryRLock takes the lock to read if no writer holds it or waits for it, and returns ErrLocked otherwise.
func (m *RWMutex) TryRLock(ctx context.Context) (*Hold, error) {
	return m.acquire(ctx, m.reader, fence.Shared, true)
}

// Do runs f while it holds the lock to write, as Mutex.Do does.
func (m *RWMutex) Do(ctx context.Context, f func(context.Context, fence.Token) error) error {
	return do(ctx, m.Lock, f)
}

// RDo runs f while it holds the lock to read, as Mutex.Do does.
func (m *RWMutex) RDo(ctx context.Context, f func(context.Context, fence.Token) error) error {
	return do(ctx, m.RLock, f)
}

// errNotOfLock is for a hold of something else, or of the other mode.
var errNotOfLock = errors.New("recipes: the hold is not one of this lock in the mode it takes")

// Downgrade turns a hold to write into one to read without anybody writing in between, in one commit: readers that wait
// for nothing else come in. The token keeps its revision. From the call on the hold given is over, whatever Downgrade
// returns; after an error the lock is given up, at once or as soon as the store answers.
func (m *RWMutex) Downgrade(ctx context.Context, h *Hold) (*Hold, error) {
	if h.entry.path != m.path || h.mode != fence.Exclusive || len(h.entry.also) == 0 {
		return nil, errNotOfLock
	}
	if err := h.end(); err != nil {
		return nil, err
	}
	w := h.entry
	r := m.session.begin(&entry{
		what: w.what, path: w.path, line: m.path + writersDir, key: w.also[0], mark: w.mark, value: w.value, delayed: true, cluster: w.cluster,
	})
	ctx, stop := join(ctx, r.ctx)
	defer stop()
	err := m.session.retry(ctx, func(ctx context.Context) error {
		resp, err := m.session.client.Txn(ctx).If(w.guard()).
			Then(clientv3.OpGet(r.key), clientv3.OpDelete(w.key, clientv3.WithPrefix())).
			Else(clientv3.OpGet(r.key)).Commit()
		if err != nil {
			return err
		}
		// Without the writer's key it may have been downgraded by a try whose answer was lost.
		found := first(resp)
		if found == nil {
			return r.lost()
		}
		r.revision = found.CreateRevision
		r.answer.Store(resp.Header)
		return nil
	})
	return m.changed(w, r, err, fence.Shared, h.granted)
}

// TryUpgrade turns a hold to read into one to write, in one commit, if nobody else holds the lock or waits for it. It
// returns ErrLocked otherwise, and the hold given goes on: two readers that waited for each other would wait for ever.
// After success, and after any other error, the hold given is over; after an error the lock is given up, at once or as
// soon as the store answers.
func (m *RWMutex) TryUpgrade(ctx context.Context, h *Hold) (*Hold, error) {
	if h.entry.path != m.path || h.mode != fence.Shared {
		return nil, errNotOfLock
	}
	if err := h.Valid(); err != nil {
		return nil, err
	}
	r := h.entry
	w := m.session.begin(&entry{
		what: r.what, path: r.path, line: m.path + queueDir, key: m.path + writersDir + r.attempt(), also: []string{r.key}, mark: r.mark, value: r.value,
		delayed: true, cluster: r.cluster,
	})
	ctx, stop := join(ctx, r.ctx)
	defer stop()
	alone := clientv3.Compare(clientv3.CreateRevision(m.path+queueDir).WithPrefix(), "=", r.revision)
	tries := 0
	err := m.session.retry(ctx, func(ctx context.Context) error {
		tries++
		resp, err := m.session.client.Txn(ctx).If(r.guard(), alone).
			Then(w.putsOf(w.key)...).
			Else(clientv3.OpGet(w.key), clientv3.OpGet(r.key)).Commit()
		if err != nil {
			return err
		}
		w.answer.Store(resp.Header)
		if w.revision = resp.Header.Revision; resp.Succeeded {
			return nil
		}
		return w.upgradedBefore(resp, r)
	})
	if errors.Is(err, ErrLocked) {
		w.cancel(err)
		h.doubt(tries > 1, w.key)
		return nil, err
	}
	if ended := h.end(); err == nil {
		err = ended
	}
	return m.changed(r, w, err, fence.Exclusive, w.revision)
}

// upgradedBefore looks why an upgrade changed nothing: a try whose answer was lost has done it, or the hold is gone, or
// there are others.
func (w *entry) upgradedBefore(resp *clientv3.TxnResponse, r *entry) error {
	kvs := func(i int) []*mvccpb.KeyValue { return resp.Responses[i].GetResponseRange().GetKvs() }
	switch {
	case len(kvs(1)) == 0 || kvs(1)[0].CreateRevision != r.revision:
		return r.lost()
	case len(kvs(0)) == 0:
		return ErrLocked
	}
	w.revision = kvs(0)[0].CreateRevision
	return nil
}

// doubt lets Unlock remove a key too that a transaction may still put whose answer was lost.
func (h *Hold) doubt(lost bool, key string) {
	h.release.Lock()
	defer h.release.Unlock()
	if lost && !h.released {
		h.entry.unanswered++
		h.entry.also = append(h.entry.also, key)
	}
}

// changed finishes a change of mode: to holds now what from held.
func (m *RWMutex) changed(from, to *entry, err error, mode fence.Mode, granted int64) (*Hold, error) {
	if err == nil {
		err = m.session.Valid()
	}
	if err != nil {
		to.cancel(ErrUnlocked)
		from.unanswered++ // what was sent may still be applied
		from.also = []string{m.path + writersDir + from.attempt(), m.path + readersDir + from.attempt()}
		from.abandon()
		return nil, fmt.Errorf("recipes: lock %s: %w", m.path, err)
	}
	m.session.spawn(to.watchOwn)
	return newHold(to, mode, granted), nil
}

// attempt is the attempt's name.
func (e *entry) attempt() string { return e.key[strings.LastIndexByte(e.key, '/')+1:] }
