package rpc

import (
	"context"
	"strconv"
	"time"

	"github.com/coordd/coordd/coordd/member"
	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	return &pb.MemberListResponse{
		Header:  s.header(0), // as in etcd, without a revision
		Members: coordpb.EtcdMembers(s.Store.Members()),
	}, nil
}

// MemberAdd adds a member under an id of etcd's making: of its URLs and the time.
func (s *clusterServer) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	urls, err := peerURLs(r.GetPeerURLs())
	if err != nil {
		return nil, err
	}
	if err := s.reconfiguration().mayAdd(r.GetIsLearner()); err != nil {
		return nil, err
	}
	if err := s.permitSurely(ctx, r); err != nil {
		return nil, err
	}
	if err := RaiseEpoch(ctx, s.Node, s.Store, s.Now); err != nil {
		return nil, err // the new member would not know that it is due
	}
	response, err := s.Node.ProposeConfChange(ctx, &coordpb.MemberAddRequest{
		Member: &coordpb.Member{
			Id:        member.ID(urls, strconv.FormatInt(s.Now().Unix(), 10)),
			PeerUrls:  urls,
			IsLearner: r.GetIsLearner(),
		},
		MaxLearners: uint32(s.MaxLearners),
	})
	if err != nil {
		return nil, err
	}
	added := response.(*pb.MemberAddResponse)
	added.Header = s.header(0)
	return added, nil
}

// peerURLs returns URLs as the store keeps them.
func peerURLs(urls []string) ([]string, error) {
	normal, err := member.Normalize(urls)
	if err != nil || len(normal) == 0 {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	return normal, nil
}

// MemberRemove removes a member. A leader's leadership goes to another member
// first: a leader that removes itself leaves the others without one, and cannot
// tell them any more that it is out.
func (s *clusterServer) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	if err := s.reconfiguration().mayRemove(r.GetID()); err != nil {
		return nil, err
	}
	if err := s.permitSurely(ctx, r); err != nil {
		return nil, err
	}
	if s.Node.Status().Leader == r.GetID() {
		if err := s.moveLeaderOff(ctx, r.GetID()); err != nil {
			s.Logger.Warn("leadership stays with the member that is removed", "error", err)
		}
	}
	response, err := s.Node.ProposeConfChange(ctx, &pb.MemberRemoveRequest{ID: r.GetID()})
	if err != nil {
		return nil, err
	}
	removed := response.(*pb.MemberRemoveResponse)
	removed.Header = s.header(0)
	return removed, nil
}

// moveLeaderOff moves leadership from a member to this one or, if it is this
// one, to whoever is furthest.
func (s *clusterServer) moveLeaderOff(ctx context.Context, id uint64) error {
	if id != s.MemberID {
		return s.Node.TransferLeader(ctx, s.MemberID)
	}
	to, err := Successor(ctx, s.Node, s.ActiveSince)
	if err != nil {
		return err
	}
	return s.Node.TransferLeader(ctx, to)
}

func (s *clusterServer) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	urls, err := peerURLs(r.GetPeerURLs())
	if err != nil {
		return nil, err
	}
	response, err := s.Node.Propose(ctx, &pb.MemberUpdateRequest{ID: r.GetID(), PeerURLs: urls})
	if err != nil {
		return nil, err
	}
	updated := response.(*pb.MemberUpdateResponse)
	updated.Header = s.header(0)
	return updated, nil
}

// MemberPromote is the leader's to decide: a follower asks it.
func (s *clusterServer) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	var members []*coordpb.Member
	var refusal error
	err := s.askLeader(ctx, func(ctx context.Context, leader uint64) (err error) {
		if leader == s.MemberID {
			members, err = s.reconfiguration().Promote(ctx, r.GetID())
		} else {
			members, err = s.Config.MemberPromote(ctx, leader, r.GetID())
		}
		if isFinal(err) {
			refusal, err = err, nil
		}
		return err
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return nil, err
	}
	return &pb.MemberPromoteResponse{Header: s.header(0), Members: coordpb.EtcdMembers(members)}, nil
}

// isFinal tells what asking the next leader would not change.
func isFinal(err error) bool {
	switch status.Code(wireError(err)) {
	case codes.NotFound, codes.FailedPrecondition, codes.Unimplemented:
		return true
	}
	return false
}

func (s *Server) reconfiguration() Reconfiguration {
	return Reconfiguration{
		Node: s.Node, Store: s.Store, Self: s.MemberID, Strict: s.StrictReconfigCheck, ActiveSince: s.ActiveSince, Now: s.Now,
	}
}

// Successor is the voter that a leader's leadership goes to best: of those that
// are connected, the one whose log is furthest. It fails with ErrNotLeader
// elsewhere, and where there is no such voter.
func Successor(ctx context.Context, node *raftnode.Node, activeSince func(id uint64) time.Time) (uint64, error) {
	all, err := node.Progress(ctx)
	if err != nil {
		return 0, err
	}
	var best, match uint64
	for id, p := range all {
		if id == node.Status().ID || p.Learner || activeSince(id).IsZero() {
			continue
		}
		if best == 0 || p.Match > match {
			best, match = id, p.Match
		}
	}
	if best == 0 {
		return 0, errNoSuccessor
	}
	return best, nil
}
