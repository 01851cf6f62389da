package rpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/recipes"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// sessionTTLSeconds is the lease that a lock or a leadership gets whose caller
// brings none, as in etcd.
const sessionTTLSeconds = 60

// session runs f, a call, with a session of recipes: over the lease that the
// caller brought and keeps alive, and with the caller's identity. f's context
// also ends when the server stops.
func (s *Server) session(ctx context.Context, lease int64, f func(context.Context, *recipes.Session) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.stopping, func() { cancel(raftnode.ErrStopped) })()
	client := s.local(ctx)
	defer client.Close()
	session := recipes.AttachSession(ctx, client, clientv3.LeaseID(lease))
	defer session.Close()
	err := f(ctx, session)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// acquire is session for a call that takes hold of something. Where the caller
// brings no lease, one is granted and renewed until f returns; it has its whole
// time then, or is revoked if f has failed.
func (s *Server) acquire(ctx context.Context, lease int64, f func(context.Context, *recipes.Session) error) (err error) {
	if lease != 0 {
		return s.session(ctx, lease, f)
	}
	leases := &leaseServer{Server: s}
	await := context.WithoutCancel(ctx) // a lease whose grant is not known would be left behind
	granted, err := leases.LeaseGrant(await, &pb.LeaseGrantRequest{TTL: sessionTTLSeconds})
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		if _, failure := leases.LeaseRevoke(await, &pb.LeaseRevokeRequest{ID: granted.ID}); failure != nil {
			s.Logger.Warn("a lease stays until it ends", "lease", granted.ID, "error", failure)
		}
	}()
	return s.session(ctx, granted.ID, func(ctx context.Context, session *recipes.Session) error {
		begin := s.Now()
		stop := leases.keepAlivePeriodically(ctx, granted.ID)
		err := f(ctx, session)
		stop()
		if err != nil || s.Now().Sub(begin) < renewalInterval {
			return err
		}
		return leases.renew(ctx, granted.ID)
	})
}

// renewalInterval leaves time for another renewal where one has failed.
const renewalInterval = sessionTTLSeconds * time.Second / 3

// keepAlivePeriodically renews a lease until stop is called, which waits for the
// renewal under way.
func (s *leaseServer) keepAlivePeriodically(ctx context.Context, id int64) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(renewalInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_ = s.renew(ctx, id) // without the lease the key goes, and that is seen
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

func (s *leaseServer) renew(ctx context.Context, id int64) error {
	response, err := s.keepAlive(ctx, &pb.LeaseKeepAliveRequest{ID: id})
	if err == nil && response.TTL == 0 {
		err = recipes.ErrLost
	}
	return err
}

// notElected is what is lost by losing the place in an election's queue.
func notElected(err error) error {
	if errors.Is(err, recipes.ErrLost) {
		return errNotElected
	}
	return err
}
