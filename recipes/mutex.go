package recipes

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/coordd/coordd/recipes/fence"
)

// Bounds and defaults of MutexOptions.
const (
	DefaultLockPrefix = "/coordd/locks"
	MaxPrefixBytes    = 256
	MaxReasonBytes    = 1024
)

// MutexOptions are a mutex's options; a zero field means its default.
type MutexOptions struct {
	// Prefix is where the lock's keys live, by default DefaultLockPrefix. It does not end in a slash, has at most
	// MaxPrefixBytes, and must not lie below a lock of another prefix.
	Prefix string
	// Reason is shown to those who look at who holds the lock, at most MaxReasonBytes.
	Reason string
	// EtcdLayout puts the lock's keys where etcd's lock library, its lock service and etcdctl lock do, <name>/<lease>, so
	// that all of them exclude each other. The name is the whole path then: there is no prefix and nothing is escaped, so
	// the lock "jobs" also waits for the holder of "jobs/nightly". The reason is the key's value.
	EtcdLayout bool
}

// Defaults fills the zero fields.
func (o *MutexOptions) Defaults() {
	if o.Prefix == "" && !o.EtcdLayout {
		o.Prefix = DefaultLockPrefix
	}
}

// Validate names the first field that is out of range.
func (o *MutexOptions) Validate() error {
	switch {
	case o.EtcdLayout && o.Prefix != "":
		return errors.New("recipes: a lock in etcd's layout has no prefix")
	case strings.HasSuffix(o.Prefix, "/") || len(o.Prefix) > MaxPrefixBytes:
		return fmt.Errorf("recipes: lock prefix %q ends in a slash or has more than %d bytes", o.Prefix, MaxPrefixBytes)
	case len(o.Reason) > MaxReasonBytes:
		return fmt.Errorf("recipes: lock reason has %d bytes, at most %d", len(o.Reason), MaxReasonBytes)
	}
	return nil
}

// Mutex names a fenced, first-come-first-served lock. It holds no state: what Lock returns is the acquisition, and two
// Locks of one Mutex, or of two Mutexes of one session, exclude each other. It is safe for concurrent use.
type Mutex struct {
	session    *Session
	path       string // in etcd's layout the name
	reason     string
	etcdLayout bool
	err        error // of the name or the options; every acquisition returns it
}

// NewMutex names the lock; nil options mean defaults. A name is 1 to MaxNameBytes of any bytes. An invalid name or option
// is the error of the first use. In etcd's layout every name is valid.
func NewMutex(s *Session, name string, o *MutexOptions) *Mutex {
	var options MutexOptions
	if o != nil {
		options = *o
	}
	options.Defaults()
	m := &Mutex{session: s, path: name, reason: options.Reason, etcdLayout: options.EtcdLayout, err: options.Validate()}
	if !m.etcdLayout {
		path, err := lockPath(options.Prefix, name)
		m.path, m.err = path, errors.Join(m.err, err)
	}
	return m
}

// Lock waits for the lock until ctx ends. Uncontended it takes one commit. It repeats requests that fail for the moment
// and survives the loss of members and leaders for as long as the session does. When ctx ends, the place in the queue is
// given up, at once if the store answers, else as soon as it does. The error is a *LostError when the session ended or
// the place was deleted by somebody.
func (m *Mutex) Lock(ctx context.Context) (*Hold, error) { return m.acquire(ctx, false) }

// TryLock takes the lock if nobody holds it or waits for it, and returns ErrLocked otherwise, having written nothing.
func (m *Mutex) TryLock(ctx context.Context) (*Hold, error) { return m.acquire(ctx, true) }

func (m *Mutex) acquire(ctx context.Context, onlyIfFree bool) (*Hold, error) {
	if m.err != nil {
		return nil, m.err
	}
	if err := errors.Join(m.session.Valid(), ctx.Err()); err != nil {
		return nil, fmt.Errorf("recipes: lock %s: %w", m.path, err)
	}
	e := m.newEntry()
	if err := e.acquire(ctx, onlyIfFree); err != nil {
		return nil, err
	}
	return newHold(e), nil
}

func (m *Mutex) newEntry() *entry {
	if m.etcdLayout {
		return m.session.newEtcdEntry("lock", m.path, m.reason)
	}
	return m.session.newEntry(m.path, m.reason)
}

// Do runs f while it holds the lock. The context of f ends with ctx and with the ownership. The lock is released when f
// has returned, never before, even if ownership was lost meanwhile. The error joins that of f with the loss of ownership
// or an unconfirmed release: a nil error of f alone does not mean that f was alone until its end.
func (m *Mutex) Do(ctx context.Context, f func(context.Context, fence.Token) error) (err error) {
	hold, err := m.Lock(ctx)
	if err != nil {
		return err
	}
	held, stop := join(ctx, hold.Context())
	defer stop()
	defer func() {
		lost := hold.Valid()
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.session.requestTime())
		defer cancel()
		if unlock := hold.Unlock(release); lost == nil {
			lost = unlock
		}
		err = errors.Join(err, lost)
	}()
	return f(held, hold.Token())
}
