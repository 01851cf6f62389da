package rpc

import (
	"context"
	"errors"

	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/recipes"
)

var (
	errNotElected     = errors.New("rpc: not elected, or no longer")
	errNoLeadershipIn = errors.New("rpc: request without leadership")
)

// etcdLayout is where elections of the service stand, as in etcd.
var etcdLayout = &recipes.ElectionOptions{EtcdLayout: true}

// electionServer is v3electionpb.Election, by way of the election of recipes.
type electionServer struct {
	v3electionpb.UnimplementedElectionServer
	*Server
}

// Campaign waits for the leadership until the call ends.
func (s *electionServer) Campaign(ctx context.Context, r *v3electionpb.CampaignRequest) (response *v3electionpb.CampaignResponse, err error) {
	err = s.acquire(ctx, r.GetLease(), func(ctx context.Context, session *recipes.Session) error {
		l, err := recipes.NewElection(session, string(r.GetName()), etcdLayout).Campaign(ctx, string(r.GetValue()))
		if err == nil {
			response = &v3electionpb.CampaignResponse{
				Header: l.Header(),
				Leader: &v3electionpb.LeaderKey{Name: r.GetName(), Key: []byte(l.Key()), Rev: l.Revision(), Lease: int64(session.Lease())},
			}
		}
		return err
	})
	if err != nil {
		return nil, notElected(err)
	}
	return response, nil
}

// lead runs f with a leadership that its leader tells of. Without a lease in the
// request the key keeps its own: a leadership without one would not end with its
// leader.
func (s *electionServer) lead(ctx context.Context, leader *v3electionpb.LeaderKey, f func(context.Context, *recipes.Leadership) error) error {
	if leader == nil {
		return errNoLeadershipIn
	}
	return s.session(ctx, leader.GetLease(), func(ctx context.Context, session *recipes.Session) error {
		return f(ctx, recipes.NewElection(session, string(leader.GetName()), etcdLayout).Resume(string(leader.GetKey()), leader.GetRev()))
	})
}

func (s *electionServer) Proclaim(ctx context.Context, r *v3electionpb.ProclaimRequest) (response *v3electionpb.ProclaimResponse, err error) {
	err = s.lead(ctx, r.GetLeader(), func(ctx context.Context, l *recipes.Leadership) error {
		err := l.Proclaim(ctx, string(r.GetValue()))
		response = &v3electionpb.ProclaimResponse{Header: l.Header()}
		return err
	})
	if err != nil {
		return nil, notElected(err)
	}
	return response, nil
}

// Resign ends the leadership. One that has ended already is no error.
func (s *electionServer) Resign(ctx context.Context, r *v3electionpb.ResignRequest) (response *v3electionpb.ResignResponse, err error) {
	err = s.lead(ctx, r.GetLeader(), func(ctx context.Context, l *recipes.Leadership) error {
		err := l.Resign(ctx)
		response = &v3electionpb.ResignResponse{Header: l.Header()}
		if errors.Is(err, recipes.ErrLost) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

func (s *electionServer) Leader(ctx context.Context, r *v3electionpb.LeaderRequest) (response *v3electionpb.LeaderResponse, err error) {
	err = s.session(ctx, 0, func(ctx context.Context, session *recipes.Session) error {
		now, err := recipes.NewElection(session, string(r.GetName()), etcdLayout).Leader(ctx)
		response = &v3electionpb.LeaderResponse{Header: now.Header, Kv: now.KV}
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// Observe tells of each leader and of what it proclaims, but not that nobody leads.
func (s *electionServer) Observe(r *v3electionpb.LeaderRequest, stream v3electionpb.Election_ObserveServer) error {
	return s.session(stream.Context(), 0, func(ctx context.Context, session *recipes.Session) error {
		for now, err := range recipes.NewElection(session, string(r.GetName()), etcdLayout).Observe(ctx) {
			if err == nil && now.KV != nil {
				err = stream.Send(&v3electionpb.LeaderResponse{Header: now.Header, Kv: now.KV})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
