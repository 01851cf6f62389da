package rpc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// maintenanceServer is etcdserverpb.Maintenance.
type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	*Server
}

func (s *maintenanceServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	total, inUse := s.Store.Size()
	node := s.Node.Status()
	response := &pb.StatusResponse{
		Header:           s.header(s.Store.Revision()),
		Version:          Version,
		DbSize:           total,
		DbSizeInUse:      inUse,
		Leader:           node.Leader,
		RaftIndex:        node.Committed,
		RaftTerm:         node.Term,
		RaftAppliedIndex: node.Applied,
		IsLearner:        node.Learner,
		StorageVersion:   storageVersion,
		DowngradeInfo:    &pb.DowngradeInfo{},
	}
	if node.Leader == 0 {
		response.Errors = append(response.Errors, rpctypes.ErrNoLeader.Error())
	}
	return response, nil
}

func (s *maintenanceServer) HashKV(_ context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	h, err := s.Store.HashKV(r.GetRevision())
	if err != nil {
		return nil, err
	}
	return &pb.HashKVResponse{
		Header:          s.header(h.Revision),
		Hash:            h.Hash,
		CompactRevision: h.CompactRevision,
		HashRevision:    h.HashRevision,
	}, nil
}

// Hash is HashKV at the current revision: what lies beside the keys in the
// backend differs between members and would say nothing.
func (s *maintenanceServer) Hash(context.Context, *pb.HashRequest) (*pb.HashResponse, error) {
	h, err := s.Store.HashKV(0)
	if err != nil {
		return nil, err
	}
	return &pb.HashResponse{Header: s.header(h.Revision), Hash: h.Hash}, nil
}

// Alarm answers that there are none: health checks ask.
func (s *maintenanceServer) Alarm(_ context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.GetAction() == pb.AlarmRequest_ACTIVATE {
		return nil, unsupported("raising an alarm")
	}
	return &pb.AlarmResponse{Header: s.header(s.Store.Revision())}, nil
}

func (s *maintenanceServer) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	return nil, unsupported("defragmentation")
}

func (s *maintenanceServer) Snapshot(*pb.SnapshotRequest, grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	return unsupported("saving a snapshot")
}

func (s *maintenanceServer) Downgrade(context.Context, *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	return nil, unsupported("downgrading")
}
