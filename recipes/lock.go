package recipes

import (
	"context"
	"errors"
	"fmt"

	"github.com/coordd/coordd/recipes/fence"
)

// lock is what Mutex and RWMutex have in common. Both are one queue below a name, in which writers and readers stand in
// directories of their own: a writer waits for whoever came before, a reader for the writers before it. A writer of an
// RWMutex has a key among the readers too, so that it keeps its place when it gives up only the writing.
type lock struct {
	placement
	session    *Session
	etcdLayout bool
	err        error // of the name or the options; every acquisition returns it
}

func newLock(s *Session, name string, o *MutexOptions) lock {
	var options MutexOptions
	if o != nil {
		options = *o
	}
	options.Defaults()
	l := lock{session: s, etcdLayout: options.EtcdLayout, err: options.Validate()}
	if l.etcdLayout {
		l.placement = placement{path: name, reason: options.Reason}
		return l
	}
	var err error
	l.placement, err = newPlacement(options.Prefix, name, options.Reason, options.Attempt)
	l.err = errors.Join(l.err, err)
	return l
}

func (l *lock) acquire(ctx context.Context, e func() *entry, mode fence.Mode, onlyIfFree bool) (*Hold, error) {
	err := l.err
	if err == nil && !l.etcdLayout {
		err = l.session.epoch.denied
	}
	if err != nil {
		return nil, err
	}
	if err := errors.Join(l.session.Valid(), ctx.Err()); err != nil {
		return nil, fmt.Errorf("recipes: lock %s: %w", l.path, err)
	}
	attempt := e()
	if err := attempt.acquire(ctx, onlyIfFree); err != nil {
		return nil, err
	}
	return newHold(attempt, mode, attempt.revision), nil
}

func (l *lock) newEntry(line, key string, also ...string) *entry {
	id := l.newAttempt()
	e := &entry{
		what: "lock", path: l.path, line: l.path + line, key: l.path + key + id,
		mark: l.path + abandonedDir + id, named: l.attempt != "", value: l.session.holder(l.reason).String(), delayed: true,
	}
	for _, dir := range also {
		e.also = append(e.also, l.path+dir+id)
	}
	return l.session.begin(e)
}

// exclusive is an attempt of a Mutex.
func (l *lock) exclusive() *entry {
	if l.etcdLayout {
		return l.session.newEtcdEntry("lock", l.path, l.reason)
	}
	return l.newEntry(queueDir, writersDir)
}

// writer is an attempt to write of an RWMutex.
func (l *lock) writer() *entry {
	e := l.newEntry(queueDir, writersDir, readersDir)
	e.beside = e.also
	return e
}

// reader is an attempt to read of an RWMutex, which may become a writer.
func (l *lock) reader() *entry { return l.newEntry(writersDir, readersDir, writersDir) }

// do runs f while it holds what acquire returns. See Mutex.Do.
func do(ctx context.Context, acquire func(context.Context) (*Hold, error), f func(context.Context, fence.Token) error) (err error) {
	hold, err := acquire(ctx)
	if err != nil {
		return err
	}
	held, stop := join(ctx, hold.Context())
	defer stop()
	defer func() {
		lost := hold.Valid()
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), hold.entry.session.requestTime())
		defer cancel()
		if unlock := hold.Unlock(release); lost == nil {
			lost = unlock
		}
		err = errors.Join(err, lost)
	}()
	return f(held, hold.Token())
}
