package recipes

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Bounds and defaults of SessionOptions.
const (
	DefaultTTLSeconds = 10
	MaxTTLSeconds     = 24 * 60 * 60
	DefaultMaxDrift   = 0.01
	MaxIdentityBytes  = 1024
	MaxLockDelay      = 24 * time.Hour
)

// maxRequestTime bounds one try of one request, so that a silent endpoint does not keep it from the next one. It is less
// when the TTL is below three times that.
const maxRequestTime = 5 * time.Second

// SessionOptions are a session's options; a zero field means its default.
type SessionOptions struct {
	// TTLSeconds is the lease's time to live, 1 to MaxTTLSeconds, by default DefaultTTLSeconds. The store may grant more:
	// etcd raises it to one and a half election timeouts. It is how long a crashed holder keeps the lock.
	TTLSeconds int64
	// MaxDrift bounds by how much the store's clock may run faster than the local one, as a fraction above 0 and up to
	// 0.5, by default DefaultMaxDrift. The session ends that fraction of its TTL early.
	MaxDrift float64
	// Identity names the session's owner in the metadata of what it holds, at most MaxIdentityBytes; by default
	// "<host>/<pid>".
	Identity string
	// LockDelay keeps what a session held from others for at least that long after the session has ended without giving it
	// up, up to MaxLockDelay, by default not at all: for resources that cannot compare tokens, time in which a holder that
	// was cut off finishes or stops. It costs a second lease, and in a lock's queue also waiters that crash leave the delay
	// behind. Elections and locks in etcd's layout have none.
	LockDelay time.Duration
	// Leases sends the lease requests, by default by the client's connection. It is for programs whose client has none, as
	// coordd itself.
	Leases pb.LeaseClient
}

// Defaults fills the zero fields.
func (o *SessionOptions) Defaults() {
	if o.TTLSeconds == 0 {
		o.TTLSeconds = DefaultTTLSeconds
	}
	if o.MaxDrift == 0 {
		o.MaxDrift = DefaultMaxDrift
	}
	if o.Identity == "" {
		o.Identity = fmt.Sprintf("%s/%d", hostname(), os.Getpid())
	}
}

// Validate names the first field that is out of range.
func (o *SessionOptions) Validate() error {
	switch {
	case o.TTLSeconds < 1 || o.TTLSeconds > MaxTTLSeconds:
		return fmt.Errorf("recipes: session TTL of %d s is not within 1 to %d s", o.TTLSeconds, MaxTTLSeconds)
	case math.IsNaN(o.MaxDrift) || o.MaxDrift <= 0 || o.MaxDrift > 0.5:
		return fmt.Errorf("recipes: session clock drift %g is not above 0 and up to 0.5", o.MaxDrift)
	case len(o.Identity) > MaxIdentityBytes:
		return fmt.Errorf("recipes: session identity has %d bytes, at most %d", len(o.Identity), MaxIdentityBytes)
	case o.LockDelay < 0 || o.LockDelay > MaxLockDelay:
		return fmt.Errorf("recipes: lock delay %v is not within 0 to %v", o.LockDelay, MaxLockDelay)
	}
	return nil
}

// Session is a lease kept alive, and what is held with it. It is safe for concurrent use. It ends once: by Close, when its
// validity runs out on the local clock, or when the store has lost the lease.
type Session struct {
	client  *clientv3.Client
	leases  pb.LeaseClient
	lease   clientv3.LeaseID
	options SessionOptions
	ttl     time.Duration // as granted
	now     func() time.Duration
	epoch   epoch
	// delayLease outlives lease by the lock delay; NoLease without one.
	delayLease clientv3.LeaseID
	// attached says that somebody else keeps the lease alive.
	attached bool

	ctx     context.Context
	cancel  context.CancelCauseFunc
	streams atomic.Int64 // watches that were refused or not answered; see watch
	prompt  atomic.Bool  // the store lets no watch wait that starts at a past revision; see watchEpoch
	// deadline, on the clock now, is the end of validity. Written under mu; read without.
	deadline atomic.Int64

	mu    sync.Mutex     // guards ending, and with it the growth of tasks
	ended bool           // no extension and no new task after it
	tasks sync.WaitGroup // keepAlive, watchEpoch, janitor.run, and an entry.watchOwn for each attempt that waits or holds

	janitor *janitor

	close    sync.Once
	closeErr error
}

// NewSession grants a lease and keeps it alive until Close; nil options mean defaults. ctx bounds the beginning only.
func NewSession(ctx context.Context, client *clientv3.Client, o *SessionOptions) (*Session, error) {
	return newSession(ctx, client, o, localClock())
}

func newSession(ctx context.Context, client *clientv3.Client, o *SessionOptions, now func() time.Duration) (*Session, error) {
	s, err := prepareSession(client, o, now)
	if err != nil {
		return nil, err
	}
	if s.epoch, err = readEpoch(ctx, client); err != nil {
		return nil, err
	}
	if err := s.grant(ctx); err != nil {
		return nil, fmt.Errorf("recipes: grant session lease: %w", err)
	}
	return s.start(), nil
}

// ResumeSession takes over the renewals of a lease that a session left behind by Detach, or whose process ended. The error
// is ErrLeaseGone if the store does not know the lease. LockDelay cannot be resumed.
func ResumeSession(ctx context.Context, client *clientv3.Client, lease clientv3.LeaseID, o *SessionOptions) (*Session, error) {
	s, err := prepareSession(client, o, localClock())
	if err != nil {
		return nil, err
	}
	if s.options.LockDelay != 0 {
		return nil, errors.New("recipes: a session with a lock delay cannot be resumed")
	}
	if s.epoch, err = readEpoch(ctx, client); err != nil {
		return nil, err
	}
	sent := s.now()
	ttlSeconds, err := s.renewLease(ctx, lease)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound) || err == nil && ttlSeconds <= 0:
		return nil, fmt.Errorf("recipes: resume session %016x: %w", int64(lease), ErrLeaseGone)
	case err != nil:
		return nil, fmt.Errorf("recipes: resume session %016x: %w", int64(lease), err)
	}
	s.granted(lease, sent, ttlSeconds)
	return s.start(), nil
}

// prepareSession returns a session that has no lease yet.
func prepareSession(client *clientv3.Client, o *SessionOptions, now func() time.Duration) (*Session, error) {
	if client == nil {
		return nil, errors.New("recipes: session without a client")
	}
	var options SessionOptions
	if o != nil {
		options = *o
	}
	options.Defaults()
	if err := options.Validate(); err != nil {
		return nil, err
	}
	s := &Session{client: client, leases: options.Leases, options: options, now: now, janitor: newJanitor()}
	if s.leases == nil {
		s.leases = clientv3.RetryLeaseClient(client)
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s, nil
}

// grant gets the leases. That of the lock delay comes second: how long it has to be depends on what the first is granted.
func (s *Session) grant(ctx context.Context) error {
	sent := s.now()
	granted, err := s.leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: s.options.TTLSeconds})
	if err != nil {
		return clientv3.ContextError(ctx, err)
	}
	s.granted(clientv3.LeaseID(granted.ID), sent, granted.TTL)
	if s.options.LockDelay == 0 {
		return nil
	}
	delayed, err := s.leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: s.delayedTTLSeconds()})
	if err != nil {
		return clientv3.ContextError(ctx, err) // the first lease has nothing yet and runs out
	}
	s.delayLease = clientv3.LeaseID(delayed.ID)
	return nil
}

// delayedTTLSeconds lets the second lease outlive the first by the lock delay, whichever clock is faster.
func (s *Session) delayedTTLSeconds() int64 {
	return int64(math.Ceil((s.ttl + s.options.LockDelay).Seconds() * (1 + s.options.MaxDrift)))
}

func (s *Session) granted(lease clientv3.LeaseID, sent time.Duration, ttlSeconds int64) {
	s.lease, s.ttl = lease, time.Duration(ttlSeconds)*time.Second
	s.deadline.Store(int64(s.validUntil(sent, ttlSeconds)))
}

func (s *Session) start() *Session {
	s.spawn(s.keepAlive)
	s.spawn(s.watchEpoch)
	s.spawn(func() { s.janitor.run(s) })
	return s
}

// AttachSession returns a session over a lease that somebody else keeps alive, for a server that acts on behalf of its
// client; with clientv3.NoLease it can only look. It ends with ctx and by Close, and both leave the lease as it is. Of the
// lease's validity nothing is known, so Valid tells only whether the session has ended, and what it holds is not watched:
// Hold.Context does not end when the key is deleted, Verify and Guard tell. Requests are tried once, so that whoever is
// behind it decides what to do about an error. Acquisitions are in etcd's layout only, and there is one place for a lease
// there, as in etcd's library: an attempt joins the one that is there.
func AttachSession(ctx context.Context, client *clientv3.Client, lease clientv3.LeaseID) *Session {
	s := &Session{client: client, lease: lease, attached: true, now: func() time.Duration { return 0 }, janitor: newJanitor()}
	s.epoch.denied = errAttached
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.deadline.Store(math.MaxInt64)
	return s
}

// errAttached is for what a session has to look after: nobody would, and the epoch was not read.
var errAttached = errors.New("recipes: an attached session acquires in etcd's layout only")

// spawn is where every goroutine of this package is born. Close waits for all of them. It does nothing once the session
// has ended.
func (s *Session) spawn(task func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.tasks.Go(task)
	}
}

// Context ends with the session; its cause is a *LostError then, also after Close. It ends by a timer of the local clock
// and so can be seen late by a process that did not run: Valid is exact.
func (s *Session) Context() context.Context { return s.ctx }

// Lease is the session's lease. Keys put with it are deleted when the session has ended.
func (s *Session) Lease() clientv3.LeaseID { return s.lease }

// Valid returns nil while the store cannot have expired the lease, by the local clock and the drift allowed, and a
// *LostError from then on. It does no I/O.
func (s *Session) Valid() error {
	if s.ctx.Err() == nil && int64(s.now()) < s.deadline.Load() {
		return nil
	}
	s.expireIfDue()
	return context.Cause(s.ctx)
}

// Remaining is the time until the session's validity ends, by the local clock; 0 once it has ended. Renewals move the end.
func (s *Session) Remaining() time.Duration {
	if s.Valid() != nil {
		return 0
	}
	return s.remaining()
}

// Close ends the session and all that is held with it: it waits for the session's goroutines and revokes the lease, unless
// the session is attached to one. An error means that the revocation was not confirmed and the lease will last for up to
// its TTL. Further calls, and those after Detach, return the result of the first.
func (s *Session) Close() error {
	s.close.Do(func() {
		s.end(ErrSessionClosed)
		s.tasks.Wait()
		if s.attached {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), s.requestTime())
		defer cancel()
		s.closeErr = errors.Join(s.revoke(ctx, s.lease), s.revoke(ctx, s.delayLease))
	})
	return s.closeErr
}

// Detach ends the session in this process and leaves the lease, with all that is held, to its TTL or to ResumeSession.
func (s *Session) Detach() {
	s.close.Do(func() {
		s.end(ErrSessionClosed)
		s.tasks.Wait()
	})
}

func (s *Session) revoke(ctx context.Context, lease clientv3.LeaseID) error {
	if lease == clientv3.NoLease {
		return nil
	}
	_, err := s.leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: int64(lease)})
	if err = clientv3.ContextError(ctx, err); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("recipes: revoke lease %016x: %w", int64(lease), err)
	}
	return nil
}

// end ends the session for the reason given, unless it has ended before.
func (s *Session) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(why)
}

func (s *Session) endLocked(why error) {
	s.ended = true
	s.cancel(&LostError{What: fmt.Sprintf("session %016x", int64(s.lease)), Err: why})
}

// retry tries a request until it is answered, refused for good, finds ownership lost, or ctx ends. op must be safe to repeat.
func (s *Session) retry(ctx context.Context, op func(context.Context) error) error {
	if s.attached {
		return op(ctx)
	}
	const first, most = 20 * time.Millisecond, time.Second
	for pause := first; ; pause = min(2*pause, most) {
		err := s.try(ctx, op)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			s.end(ErrLeaseGone)
			return context.Cause(s.ctx)
		}
		if err == nil || final(err) || verdict(err) {
			return err
		}
		if !sleep(ctx, pause) {
			return context.Cause(ctx)
		}
	}
}

// try bounds one try of a request.
func (s *Session) try(ctx context.Context, op func(context.Context) error) error {
	if s.attached {
		return op(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, s.requestTime())
	defer cancel()
	return op(ctx)
}

func (s *Session) requestTime() time.Duration { return min(s.ttl/3, maxRequestTime) }

// sleep waits for d and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// join returns ctx, ending also when other does and then with the cause of other.
func join(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
