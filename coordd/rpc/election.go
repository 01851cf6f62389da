package rpc

import (
	"context"
	"errors"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/v3electionpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

var (
	errNoElected      = errors.New("rpc: nobody is elected")
	errNotElected     = errors.New("rpc: not elected, or no longer")
	errNoLeadershipIn = errors.New("rpc: request without leadership")
)

// electionServer is v3electionpb.Election. The leader is whoever is first in the
// queue of the election's name, and its key's value is what it proclaims.
type electionServer struct {
	v3electionpb.UnimplementedElectionServer
	*Server
}

// Campaign waits for the leadership until the call ends.
func (s *electionServer) Campaign(ctx context.Context, r *v3electionpb.CampaignRequest) (*v3electionpb.CampaignResponse, error) {
	e, err := s.queue(r.GetName()).enter(ctx, r.GetLease(), r.GetValue())
	if err != nil {
		return nil, err
	}
	if string(e.value) != string(r.GetValue()) {
		err = s.proclaim(ctx, e, r.GetValue())
	}
	if err == nil {
		_, err = e.wait(ctx)
	}
	if errors.Is(err, errPlaceLost) {
		err = errNotElected
	}
	if err != nil {
		return nil, e.leaveAfter(ctx, err)
	}
	return &v3electionpb.CampaignResponse{
		Header: e.header,
		Leader: &v3electionpb.LeaderKey{Name: r.GetName(), Key: e.key, Rev: e.revision, Lease: e.lease},
	}, nil
}

// proclaim gives the entry that a lease had already another value.
func (s *electionServer) proclaim(ctx context.Context, e *entry, value []byte) error {
	_, held, err := e.change(ctx, e.key, e.revision, put(&pb.PutRequest{Key: e.key, Value: value, Lease: e.lease}))
	if err == nil && !held {
		return errNotElected
	}
	return err
}

func (s *electionServer) Proclaim(ctx context.Context, r *v3electionpb.ProclaimRequest) (*v3electionpb.ProclaimResponse, error) {
	leader := r.GetLeader()
	if leader == nil {
		return nil, errNoLeadershipIn
	}
	// Without a lease in the request the key keeps its own: a leadership without
	// one would not end with its leader.
	op := put(&pb.PutRequest{Key: leader.GetKey(), Value: r.GetValue(), Lease: leader.GetLease(), IgnoreLease: leader.GetLease() == 0})
	header, held, err := s.queue(leader.GetName()).change(ctx, leader.GetKey(), leader.GetRev(), op)
	switch {
	case err != nil:
		return nil, err
	case !held:
		return nil, errNotElected
	}
	return &v3electionpb.ProclaimResponse{Header: header}, nil
}

// Resign ends the leadership. One that has ended already is no error.
func (s *electionServer) Resign(ctx context.Context, r *v3electionpb.ResignRequest) (*v3electionpb.ResignResponse, error) {
	leader := r.GetLeader()
	if leader == nil {
		return nil, errNoLeadershipIn
	}
	header, _, err := s.queue(leader.GetName()).change(ctx, leader.GetKey(), leader.GetRev(), del(leader.GetKey()))
	if err != nil {
		return nil, err
	}
	return &v3electionpb.ResignResponse{Header: header}, nil
}

func (s *electionServer) Leader(ctx context.Context, r *v3electionpb.LeaderRequest) (*v3electionpb.LeaderResponse, error) {
	leader, header, err := s.queue(r.GetName()).first(ctx)
	switch {
	case err != nil:
		return nil, err
	case leader == nil:
		return nil, errNoElected
	}
	return &v3electionpb.LeaderResponse{Header: header, Kv: leader}, nil
}

// Observe looks who leads, follows that one's key until it is deleted, and looks
// again. While nobody leads it waits for any change below the name.
func (s *electionServer) Observe(r *v3electionpb.LeaderRequest, stream v3electionpb.Election_ObserveServer) error {
	q := s.queue(r.GetName())
	for {
		leader, header, err := q.first(stream.Context())
		if err != nil {
			return err
		}
		follow := kvcore.WatchOptions{Key: q.prefix, RangeEnd: prefixEnd(q.prefix), StartRevision: header.Revision + 1}
		if leader != nil {
			if err := stream.Send(&v3electionpb.LeaderResponse{Header: header, Kv: leader}); err != nil {
				return err
			}
			follow.Key, follow.RangeEnd = leader.Key, nil
		}
		err = s.follow(stream.Context(), follow, func(e *mvccpb.Event) (bool, error) {
			if leader == nil || e.Type == mvccpb.Event_DELETE {
				return false, nil
			}
			return true, stream.Send(&v3electionpb.LeaderResponse{Header: s.header(e.Kv.ModRevision), Kv: e.Kv})
		})
		if err != nil {
			return err
		}
	}
}

// follow hands events to take until it wants no more, or until the place in the
// history is compacted away: then too the caller looks again.
func (s *Server) follow(ctx context.Context, o kvcore.WatchOptions, take func(*mvccpb.Event) (more bool, err error)) error {
	wake := make(chan struct{}, 1)
	cursor, err := s.Store.Watch(o, func() { poke(wake) })
	if err != nil {
		return err
	}
	defer cursor.Close()
	for {
		events, ready, err := cursor.Next(turnBytes)
		if errors.Is(err, kvcore.ErrCompacted) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range events {
			if more, err := take(e); err != nil || !more {
				return err
			}
		}
		if ready {
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stopping.Done():
			return raftnode.ErrStopped
		}
	}
}
