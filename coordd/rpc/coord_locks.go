package rpc

import (
	"context"

	"github.com/coordd/coordd/proto/coordv1"
	"github.com/coordd/coordd/recipes"
	"google.golang.org/grpc"
)

// coordLocks is coord.v1.Locks, by way of the read-write lock of recipes.
type coordLocks struct {
	coordv1.UnimplementedLocksServer
	*Server
}

// Acquire holds the lock until the call ends.
func (s *coordLocks) Acquire(r *coordv1.LockRequest, stream grpc.ServerStreamingServer[coordv1.HoldEvent]) error {
	return s.hold(stream, r, r.GetTry(), func(ctx context.Context, session *recipes.Session, attempt string) (*recipes.Hold, error) {
		options := &recipes.MutexOptions{Reason: r.GetReason(), Attempt: attempt}
		mutex, shared := recipes.NewMutex(session, r.GetName(), options), recipes.NewRWMutex(session, r.GetName(), options)
		switch {
		case r.GetShared() && r.GetTry():
			return shared.TryRLock(ctx)
		case r.GetShared():
			return shared.RLock(ctx)
		case r.GetTry():
			return mutex.TryLock(ctx)
		}
		return mutex.Lock(ctx)
	})
}
