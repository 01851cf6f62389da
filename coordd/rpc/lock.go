package rpc

import (
	"context"

	"github.com/coordd/coordd/proto/v3lockpb"
	"github.com/coordd/coordd/recipes"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// lockServer is v3lockpb.Lock, by way of the mutex of recipes in etcd's layout.
type lockServer struct {
	v3lockpb.UnimplementedLockServer
	*Server
}

// Lock waits for the lock until the call ends.
func (s *lockServer) Lock(ctx context.Context, r *v3lockpb.LockRequest) (response *v3lockpb.LockResponse, err error) {
	err = s.acquire(ctx, r.GetLease(), func(ctx context.Context, session *recipes.Session) error {
		hold, err := recipes.NewMutex(session, string(r.GetName()), &recipes.MutexOptions{EtcdLayout: true}).Lock(ctx)
		if err == nil {
			response = &v3lockpb.LockResponse{Header: hold.Header(), Key: []byte(hold.Key())}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// Unlock deletes the key, whoever holds it, as in etcd: knowing it is the right to.
func (s *lockServer) Unlock(ctx context.Context, r *v3lockpb.UnlockRequest) (*v3lockpb.UnlockResponse, error) {
	kv := &kvServer{Server: s.Server}
	response, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: r.GetKey()})
	if err != nil {
		return nil, err
	}
	return &v3lockpb.UnlockResponse{Header: response.Header}, nil
}
