package rpc

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// MoveLeader is answered by the leader alone, as in etcd.
func (s *maintenanceServer) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	if !s.Node.Status().IsLeader() {
		return nil, rpctypes.ErrGRPCNotLeader
	}
	if !slices.Contains(s.Store.ConfState().GetVoters(), r.GetTargetID()) {
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	}
	if err := s.Node.TransferLeader(ctx, r.GetTargetID()); err != nil {
		return nil, err
	}
	return &pb.MoveLeaderResponse{}, nil
}
