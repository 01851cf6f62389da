package recipes

import (
	"context"
	"errors"
	"fmt"
	"strings"

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

// errNotOfLock is for a hold of something else, of another session, or of the other mode.
var errNotOfLock = errors.New("recipes: the hold is not one of this lock and session in the mode it takes")

// gave reports whether h is of this lock and session, with its key in the directory of a mode.
func (m *RWMutex) gave(h *Hold, mode string) bool {
	return h.entry.session == m.session && strings.HasPrefix(h.entry.key, m.path+mode)
}

// Downgrade turns a hold to write into one to read without anybody writing in between, in one commit: readers that wait
// for nothing else come in. The token keeps its revision. From the call on the hold given is over, whatever Downgrade
// returns; after an error the lock is given up, at once or as soon as the store answers.
func (m *RWMutex) Downgrade(ctx context.Context, h *Hold) (*Hold, error) {
	if !m.gave(h, writersDir) || len(h.entry.also) == 0 {
		return nil, errNotOfLock
	}
	if err := h.end(); err != nil {
		return nil, err
	}
	w := h.entry
	leave := []clientv3.Op{clientv3.OpGet(w.also[0]), clientv3.OpDelete(w.key, clientv3.WithPrefix())}
	if w.inDoubt() { // the writer that it was must not come back while it reads
		leave = append(leave, w.putMark())
	}
	r := w.turned(writersDir)
	ctx, stop := join(ctx, r.ctx)
	defer stop()
	err := r.session.retry(ctx, func(ctx context.Context) error {
		resp, err := r.session.client.Txn(ctx).If(w.guard()).Then(leave...).Else(clientv3.OpGet(r.key)).Commit()
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
	return changed(w, r, err, fence.Shared, h.granted)
}

// turned is the attempt's other key, that of a reader for a writer's and the other way round, which waits for line.
func (e *entry) turned(line string) *entry {
	return e.session.begin(&entry{
		what: e.what, path: e.path, line: e.path + line, key: e.also[0], also: []string{e.key}, mark: e.mark, named: e.named, value: e.value,
		delayed: true, cluster: e.cluster,
	})
}

// TryUpgrade turns a hold to read into one to write, in one commit, if nobody else holds the lock or waits for it. It
// returns ErrLocked otherwise, and the hold given goes on: two readers that waited for each other would wait for ever.
// After success, and after any other error, the hold given is over; after an error the lock is given up, at once or as
// soon as the store answers.
func (m *RWMutex) TryUpgrade(ctx context.Context, h *Hold) (*Hold, error) {
	if !m.gave(h, readersDir) {
		return nil, errNotOfLock
	}
	h.release.Lock()
	defer h.release.Unlock()
	if err := h.Valid(); err != nil {
		return nil, err
	}
	r := h.entry
	w := r.turned(queueDir)
	w.unanswered = r.unanswered
	ctx, stop := join(ctx, r.ctx)
	defer stop()
	err := r.session.retry(ctx, func(ctx context.Context) error { return r.upgrade(ctx, w) })
	switch {
	case errors.Is(err, ErrLocked):
		w.cancel(err)
		return nil, err
	case errors.Is(context.Cause(r.ctx), ErrUnlocked): // meanwhile: Unlock waits, and removes both keys
		w.cancel(ErrUnlocked)
		return nil, ErrUnlocked
	case errors.Is(err, ErrLost):
		r.cancel(err)
	}
	r.cancel(ErrUnlocked)
	h.released = true
	return changed(r, w, err, fence.Exclusive, w.revision)
}

// upgrade puts w beside r if r is alone in the queue.
func (e *entry) upgrade(ctx context.Context, w *entry) error {
	queue := e.path + queueDir
	if e.asker.Load() != nil { // the request to release stands there too, and is known
		if _, err := e.session.client.Delete(ctx, e.key+askSuffix); err != nil {
			return err
		}
	}
	resp, err := e.session.client.Txn(ctx).
		If(e.guard(), e.session.epoch.unchanged(), clientv3.Compare(clientv3.CreateRevision(queue).WithPrefix(), "=", e.revision)).
		Then(w.putsOf(w.key)...).
		Else(clientv3.OpGet(e.key), clientv3.OpGet(EpochKey), clientv3.OpGet(w.key)).Commit()
	if err != nil {
		return err
	}
	w.answer.Store(resp.Header)
	if resp.Succeeded {
		w.revision = resp.Header.Revision
		return nil
	}
	if err := e.session.sameEpoch(resp, 1); err != nil {
		return err
	}
	own, upgraded := firstOf(resp.Responses), firstOf(resp.Responses[2:])
	switch {
	case own == nil || own.CreateRevision != e.revision:
		return e.lost()
	case upgraded == nil:
		return ErrLocked
	}
	w.revision = upgraded.CreateRevision // by a try whose answer was lost, when e was alone
	return nil
}

// changed finishes a change of mode: to holds now what from held. After an error both keys are removed.
func changed(from, to *entry, err error, mode fence.Mode, granted int64) (*Hold, error) {
	if err == nil {
		err = from.session.Valid()
	}
	if err != nil {
		to.cancel(ErrUnlocked)
		from.abandon()
		return nil, fmt.Errorf("recipes: lock %s: %w", from.path, err)
	}
	to.beginWatch(to.revision)
	return newHold(to, mode, granted), nil
}

// attempt is the attempt's name.
func (e *entry) attempt() string { return e.key[strings.LastIndexByte(e.key, '/')+1:] }
