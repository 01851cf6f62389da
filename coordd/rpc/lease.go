package rpc

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore/lease"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// leaderRetryInterval is how soon a question that no leader answered is asked again.
const leaderRetryInterval = 50 * time.Millisecond

// LeaderLeases answers for leases on the member that leads: only there do they
// have deadlines. Its methods may be called concurrently.
type LeaderLeases struct {
	Node  *raftnode.Node
	Table *lease.Table
	Now   func() time.Time
}

// Renew gives a lease its whole time to live again and returns that in seconds,
// or 0 where there is no such lease. Any error means that this member may not
// lead: the lease has not been renewed as far as the cluster is concerned.
func (l LeaderLeases) Renew(ctx context.Context, id int64) (ttlSeconds int64, err error) {
	// A lease that is missing may have been granted and not yet applied here.
	// What asLeader waits for settles it for the second time.
	for range 2 {
		var found bool
		err := l.asLeader(ctx, func(term uint64) error {
			var err error
			ttlSeconds, err = l.Table.Renew(lease.ID(id), l.Now())
			if found = err == nil; errors.Is(err, lease.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			return l.restore(ctx, id, term)
		})
		if err != nil {
			return 0, err
		}
		if !found {
			continue
		}
		if _, shortened, _ := l.Table.Shortened(lease.ID(id)); shortened {
			return 0, errNotLeader // what was applied meanwhile is of another leader's term
		}
		return ttlSeconds, nil
	}
	return 0, nil
}

// restore makes the log say that a lease which was renewed has its whole time to
// live, where it may say less: by that the next leader goes.
func (l LeaderLeases) restore(ctx context.Context, id int64, term uint64) error {
	for {
		number, shortened, proposing := l.Table.Shortened(lease.ID(id))
		if !shortened {
			return nil
		}
		if proposing == nil {
			// In an entry of another term it does nothing; then asLeader fails.
			_, err := l.Node.Propose(ctx, &coordpb.LeaseCheckpointRequest{Term: term, Checkpoints: []*coordpb.LeaseCheckpoint{{Id: id}}})
			if err == nil {
				l.Table.Restored(lease.ID(id), number)
			}
			return err
		}
		select {
		case <-proposing:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TimeToLive returns the whole seconds a lease has left and those it was
// granted, or -1 and 0 where there is no such lease.
func (l LeaderLeases) TimeToLive(ctx context.Context, id int64) (remainingSeconds, grantedSeconds int64, err error) {
	if err := l.asLeader(ctx, func(uint64) error { return nil }); err != nil {
		return 0, 0, err
	}
	granted, ok := l.Table.Lookup(lease.ID(id))
	remaining, err := l.Table.Remaining(lease.ID(id), l.Now())
	switch {
	case errors.Is(err, lease.ErrNotFound) || !ok:
		return -1, 0, nil
	case err != nil:
		return 0, 0, err
	}
	return int64(max(remaining, 0) / time.Second), granted.TTLSeconds, nil
}

// asLeader runs f with this member's term and then proves that this member led all the while: it led
// the same term before and after a read index round that began after f.
func (l LeaderLeases) asLeader(ctx context.Context, f func(term uint64) error) error {
	before := l.Node.Status()
	if !before.IsLeader() {
		return errNotLeader
	}
	if err := f(before.Term); err != nil {
		return err
	}
	if err := l.Node.ReadIndex(ctx); err != nil {
		return err
	}
	if after := l.Node.Status(); !after.IsLeader() || after.Term != before.Term {
		return errNotLeader
	}
	return nil
}

// leaseServer is etcdserverpb.Lease.
type leaseServer struct {
	pb.UnimplementedLeaseServer
	*Server
}

func (s *leaseServer) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	for r.ID == 0 {
		r.ID = rand.Int64()
	}
	r.TTL = max(r.TTL, s.MinLeaseTTLSeconds)
	response, err := propose[*pb.LeaseGrantResponse](ctx, s.Server, r)
	if err != nil {
		return nil, err
	}
	response.Header = s.fill(response.Header)
	return response, nil
}

func (s *leaseServer) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	response, err := propose[*pb.LeaseRevokeResponse](ctx, s.Server, r)
	if err != nil {
		return nil, err
	}
	response.Header = s.fill(response.Header)
	return response, nil
}

func (s *leaseServer) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	ctx := stream.Context()
	requests, failed := receive(ctx, stream.Recv, isEOF)
	for {
		select {
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			response, err := s.keepAlive(ctx, r)
			if err != nil {
				return err
			}
			if err := stream.Send(response); err != nil {
				return err
			}
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

func (s *leaseServer) keepAlive(ctx context.Context, r *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	if _, err := s.permit(ctx, r); err != nil {
		return nil, err
	}
	id := r.GetID()
	// The header is of a moment before the renewal: a client must not see a
	// lease confirmed at a revision at which it was gone already.
	response := &pb.LeaseKeepAliveResponse{Header: s.header(s.Store.Revision()), ID: id}
	err := s.askLeader(ctx, func(ctx context.Context, leader uint64) (err error) {
		if leader == s.MemberID {
			response.TTL, err = s.leaderLeases().Renew(ctx, id)
		} else {
			response.TTL, err = s.Config.LeaseRenew(ctx, leader, id)
		}
		return err
	})
	return response, err
}

func (s *leaseServer) leaderLeases() LeaderLeases {
	return LeaderLeases{Node: s.Node, Table: s.Store.Leases(), Now: s.Now}
}

// askLeader calls ask with the leader until it succeeds, ctx ends, or the
// request timeout is over.
func (s *Server) askLeader(ctx context.Context, ask func(ctx context.Context, leader uint64) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.RequestTimeout, raftnode.ErrTimeout)
	defer cancel()
	for {
		changed := s.Node.Changed()
		leader := s.Node.Status().Leader
		err := raftnode.ErrNoLeader
		if leader != 0 {
			err = ask(ctx, leader)
		}
		if err == nil || errors.Is(err, raftnode.ErrStopped) {
			return err
		}
		select {
		case <-changed:
		case <-time.After(leaderRetryInterval):
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, raftnode.ErrTimeout) || leader != 0 {
				return cause
			}
			return raftnode.ErrNoLeader
		}
	}
}

func (s *leaseServer) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if err := s.Node.ReadIndex(ctx); err != nil {
		return nil, err
	}
	if _, err := s.permit(ctx, r); err != nil {
		return nil, err
	}
	response := &pb.LeaseTimeToLiveResponse{Header: s.header(s.Store.Revision()), ID: r.GetID()}
	err := s.askLeader(ctx, func(ctx context.Context, leader uint64) (err error) {
		if leader == s.MemberID {
			response.TTL, response.GrantedTTL, err = s.leaderLeases().TimeToLive(ctx, r.GetID())
		} else {
			response.TTL, response.GrantedTTL, err = s.Config.LeaseTimeToLive(ctx, leader, r.GetID())
		}
		return err
	})
	if err != nil || !r.GetKeys() {
		return response, err
	}
	// The lease may have got other keys while the leader was asked.
	err = s.read(ctx, r, func() error {
		for _, key := range s.Store.Leases().Keys(lease.ID(r.GetID())) {
			response.Keys = append(response.Keys, []byte(key))
		}
		return nil
	})
	return response, err
}

func (s *leaseServer) LeaseLeases(ctx context.Context, r *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	if err := s.Node.ReadIndex(ctx); err != nil {
		return nil, err
	}
	response := &pb.LeaseLeasesResponse{Header: s.header(s.Store.Revision())}
	err := s.read(ctx, r, func() error {
		for _, id := range s.Store.Leases().List() {
			response.Leases = append(response.Leases, &pb.LeaseStatus{ID: int64(id)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}
