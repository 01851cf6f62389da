package rpc

import (
	"context"
	"path"

	"github.com/coordd/coordd/proto/coordv1"
	"github.com/coordd/coordd/recipes"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// coordElections is coord.v1.Elections.
type coordElections struct {
	coordv1.UnimplementedElectionsServer
	*Server
}

// Campaign leads until the call ends.
func (s *coordElections) Campaign(r *coordv1.CampaignRequest, stream grpc.ServerStreamingServer[coordv1.HoldEvent]) error {
	return s.hold(stream, r, false, func(ctx context.Context, session *recipes.Session, attempt string) (*recipes.Hold, error) {
		options := &recipes.ElectionOptions{Reason: r.GetReason(), Attempt: attempt}
		leadership, err := recipes.NewElection(session, r.GetName(), options).Campaign(ctx, r.GetValue())
		if err != nil {
			return nil, err
		}
		return leadership.Hold(), nil
	})
}

// Proclaim changes the value of the leader that the token is of.
func (s *coordElections) Proclaim(ctx context.Context, r *coordv1.ProclaimRequest) (*coordv1.ProclaimResponse, error) {
	err := s.claim(ctx, r.GetToken(), r.GetName(), func(ctx context.Context, c *recipes.Claim) error {
		return c.Proclaim(ctx, r.GetValue())
	})
	if err != nil {
		return nil, err
	}
	return &coordv1.ProclaimResponse{}, nil
}

// Transfer makes a candidate the leader.
func (s *coordElections) Transfer(ctx context.Context, r *coordv1.TransferRequest) (*coordv1.TransferResponse, error) {
	err := s.claim(ctx, r.GetToken(), r.GetName(), func(ctx context.Context, c *recipes.Claim) error {
		return c.Transfer(ctx, r.GetCandidate())
	})
	if err != nil {
		return nil, err
	}
	return &coordv1.TransferResponse{}, nil
}

// GetLeader returns who leads.
func (s *coordElections) GetLeader(ctx context.Context, r *coordv1.GetLeaderRequest) (*coordv1.GetLeaderResponse, error) {
	response := &coordv1.GetLeaderResponse{}
	err := s.look(ctx, r.GetName(), func(ctx context.Context, session *recipes.Session) error {
		now, err := recipes.NewElection(session, r.GetName(), nil).Leader(ctx)
		if err == nil {
			response.Leader = leader(now.KV)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// Observe tells of leaders until the call ends.
func (s *coordElections) Observe(r *coordv1.ObserveRequest, stream grpc.ServerStreamingServer[coordv1.ObserveResponse]) error {
	return s.look(stream.Context(), r.GetName(), func(ctx context.Context, session *recipes.Session) error {
		for now, err := range recipes.NewElection(session, r.GetName(), nil).Observe(ctx) {
			if err == nil {
				err = stream.Send(observed(now))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func observed(now recipes.LeaderState) *coordv1.ObserveResponse {
	response := &coordv1.ObserveResponse{Revision: now.Header.GetRevision()}
	if now.KV == nil {
		response.State = &coordv1.ObserveResponse_Nobody{Nobody: &coordv1.Nobody{}}
	} else {
		response.State = &coordv1.ObserveResponse_Leader{Leader: leader(now.KV)}
	}
	return response
}

func leader(kv *mvccpb.KeyValue) *coordv1.Leader {
	return &coordv1.Leader{Value: string(kv.Value), Key: string(kv.Key), CreateRevision: kv.CreateRevision, Attempt: path.Base(string(kv.Key))}
}
