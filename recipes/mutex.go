package recipes

import (
	"context"
	"errors"

	"github.com/coordd/coordd/recipes/fence"
)

// DefaultLockPrefix is the default of MutexOptions.Prefix.
const DefaultLockPrefix = "/coordd/locks"

// MutexOptions are the options of a Mutex or an RWMutex; a zero field means its default.
type MutexOptions struct {
	// Prefix is where the lock's keys live, by default DefaultLockPrefix. It does not end in a slash, has at most
	// MaxPrefixBytes, and must not lie below a lock of another prefix.
	Prefix string
	// Reason is shown to those who look at who holds the lock, at most MaxReasonBytes.
	Reason string
	// Attempt names the acquisition, 32 lower-case hexadecimal digits; by default each has a random name of its own. With
	// one, an acquisition that was begun under this name with the same lease is gone on with, by another process perhaps:
	// see ResumeSession. What was given up cannot be taken again under the name: the error is ErrKeyDeleted. It is one
	// acquisition, so two Locks at a time under one name do not exclude each other.
	Attempt string
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
	if o.EtcdLayout && (o.Prefix != "" || o.Attempt != "") {
		return errors.New("recipes: a lock in etcd's layout has no prefix and no attempts")
	}
	return validPlacement(o.Prefix, o.Reason, o.Attempt)
}

// Mutex names a fenced, first-come-first-served lock. It holds no state: what Lock returns is the acquisition, and two
// Locks of one Mutex, or of two Mutexes of one session, exclude each other. It excludes an RWMutex of the same name. It is
// safe for concurrent use.
type Mutex struct{ lock }

// NewMutex names the lock; nil options mean defaults. A name is 1 to MaxNameBytes of any bytes. An invalid name or option
// is the error of the first use. In etcd's layout every name is valid.
func NewMutex(s *Session, name string, o *MutexOptions) *Mutex { return &Mutex{newLock(s, name, o)} }

// Lock waits for the lock until ctx ends. Uncontended it takes one commit. It repeats requests that fail for the moment
// and survives the loss of members and leaders for as long as the session does. When ctx ends, the place in the queue is
// given up, at once if the store answers, else as soon as it does. The error is a *LostError when the session ended or
// the place was deleted by somebody.
func (m *Mutex) Lock(ctx context.Context) (*Hold, error) {
	return m.acquire(ctx, m.exclusive, fence.Exclusive, false)
}

// TryLock takes the lock if nobody holds it or waits for it, and returns ErrLocked otherwise, having written nothing.
func (m *Mutex) TryLock(ctx context.Context) (*Hold, error) {
	return m.acquire(ctx, m.exclusive, fence.Exclusive, true)
}

// Do runs f while it holds the lock. The context of f ends with ctx and with the ownership. The lock is released when f
// has returned, never before, even if ownership was lost meanwhile. The error joins that of f with the loss of ownership
// or an unconfirmed release: a nil error of f alone does not mean that f was alone until its end.
func (m *Mutex) Do(ctx context.Context, f func(context.Context, fence.Token) error) error {
	return do(ctx, m.Lock, f)
}
