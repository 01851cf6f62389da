package recipes

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The client's own keepalive loop does not tell when the request it got an answer to was sent, and validity must be
// counted from there: the store may have handled the request at any moment since, and starts the TTL at that moment.

// keepAlive renews the lease every third of its TTL, and sooner after a failure, until the session ends. Each renewal
// opens its own stream, so after a failure the client's balancer takes it to another endpoint.
func (s *Session) keepAlive() {
	wait := s.ttl / 3
	for sleep(s.ctx, min(wait, s.remaining())) {
		if s.expireIfDue() {
			return
		}
		sent := s.now()
		ttlSeconds, err := s.renew() // counted from before the first of its requests
		switch {
		case errors.Is(err, rpctypes.ErrLeaseNotFound) || err == nil && ttlSeconds <= 0:
			s.end(ErrLeaseGone)
			return
		case err != nil:
			wait = min(s.ttl/20, time.Second)
		case !s.extend(sent, ttlSeconds):
			return
		default:
			wait = time.Duration(ttlSeconds) * time.Second / 3
		}
	}
}

// renew renews the leases and returns the TTL granted, zero when the store does not know the lease. That of the lock delay
// goes first, so that it outlives the other by the delay whatever fails in between.
func (s *Session) renew() (ttlSeconds int64, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, min(s.requestTime(), s.remaining()))
	defer cancel()
	if s.delayLease != clientv3.NoLease {
		if ttlSeconds, err := s.renewLease(ctx, s.delayLease); err != nil || ttlSeconds <= 0 {
			return 0, err
		}
	}
	return s.renewLease(ctx, s.lease)
}

// renewLease sends one keepalive.
func (s *Session) renewLease(ctx context.Context, lease clientv3.LeaseID) (ttlSeconds int64, err error) {
	ctx, cancel := context.WithCancel(ctx) // it ends the stream
	defer cancel()
	stream, err := s.leases.LeaseKeepAlive(ctx)
	if err != nil {
		return 0, clientv3.ContextError(ctx, err)
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease)}); err != nil {
		return 0, clientv3.ContextError(ctx, err)
	}
	reply, err := stream.Recv()
	if err != nil {
		return 0, clientv3.ContextError(ctx, err)
	}
	return reply.GetTTL(), nil
}

// validUntil is the end of validity by an acknowledged request that was sent then. The TTL began after it was sent and
// runs on a clock that is at most MaxDrift faster.
func (s *Session) validUntil(sent time.Duration, ttlSeconds int64) time.Duration {
	ttl := float64(min(ttlSeconds, MaxTTLSeconds)) * float64(time.Second)
	return sent + time.Duration(ttl*(1-s.options.MaxDrift))
}

func (s *Session) remaining() time.Duration {
	return max(0, time.Duration(s.deadline.Load())-s.now())
}

// extend moves the deadline and reports whether the session lives. A session that was invalid for a moment stays so:
// somebody may have acted on that.
func (s *Session) extend(sent time.Duration, ttlSeconds int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	if s.remaining() == 0 {
		s.endLocked(ErrSessionExpired)
		return false
	}
	s.deadline.Store(int64(s.validUntil(sent, ttlSeconds)))
	return true
}

// expireIfDue ends the session if its validity has run out, and reports whether it has ended.
func (s *Session) expireIfDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended && s.remaining() == 0 {
		s.endLocked(ErrSessionExpired)
	}
	return s.ended
}
