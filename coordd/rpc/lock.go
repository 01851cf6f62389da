package rpc

import (
	"context"

	"github.com/coordd/coordd/proto/v3lockpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// lockServer is v3lockpb.Lock.
type lockServer struct {
	v3lockpb.UnimplementedLockServer
	*Server
}

// Lock waits for the lock until the call ends. A lease that the call made itself
// is renewed until it returns, and has its whole time then.
func (s *lockServer) Lock(ctx context.Context, r *v3lockpb.LockRequest) (*v3lockpb.LockResponse, error) {
	e, err := s.queue(r.GetName()).enter(ctx, r.GetLease(), nil)
	if err != nil {
		return nil, err
	}
	header, err := e.wait(ctx)
	if err != nil {
		return nil, e.leaveAfter(ctx, err)
	}
	return &v3lockpb.LockResponse{Header: header, Key: e.key}, nil
}

// Unlock deletes the key, whoever holds it, as in etcd: knowing it is the right to.
func (s *lockServer) Unlock(ctx context.Context, r *v3lockpb.UnlockRequest) (*v3lockpb.UnlockResponse, error) {
	response, err := s.queue(nil).kv().DeleteRange(ctx, &pb.DeleteRangeRequest{Key: r.GetKey()})
	if err != nil {
		return nil, err
	}
	return &v3lockpb.UnlockResponse{Header: response.Header}, nil
}
