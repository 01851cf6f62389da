package rpc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// clusterServer is etcdserverpb.Cluster.
type clusterServer struct {
	pb.UnimplementedClusterServer
	*Server
}

func (s *clusterServer) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if r.GetLinearizable() {
		if err := s.Node.ReadIndex(ctx); err != nil {
			return nil, err
		}
	}
	response := &pb.MemberListResponse{Header: s.header(0)} // as in etcd, without a revision
	for _, m := range s.Store.Members() {
		response.Members = append(response.Members, &pb.Member{
			ID:         m.GetId(),
			Name:       m.GetName(),
			PeerURLs:   m.GetPeerUrls(),
			ClientURLs: m.GetClientUrls(),
			IsLearner:  m.GetIsLearner(),
		})
	}
	return response, nil
}

func (s *clusterServer) MemberAdd(context.Context, *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return nil, unsupported("adding a member")
}

func (s *clusterServer) MemberRemove(context.Context, *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return nil, unsupported("removing a member")
}

func (s *clusterServer) MemberUpdate(context.Context, *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return nil, unsupported("changing a member's URLs")
}

func (s *clusterServer) MemberPromote(context.Context, *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return nil, unsupported("promoting a learner")
}
