package rpc

import (
	"context"
	"errors"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// healthInterval is for how long a member must have been connected to count
	// as healthy; etcd's.
	healthInterval = 5 * time.Second
	// How much of the leader's log a learner must have to be promoted, as in
	// etcd: nine tenths.
	learnerReady, learnerReadyOf = 9, 10
)

// What a change of members is refused for before it is proposed.
var (
	errNotEnoughStarted = errors.New("rpc: too few started members would be left for a quorum")
	errUnhealthy        = errors.New("rpc: this member is not connected to enough others")
	errLearnerNotReady  = errors.New("rpc: the learner is behind the leader")
	errNoSuccessor      = errors.New("rpc: no other voter is connected")
)

// Reconfiguration decides whether members may be changed, by etcd's rules. The
// rules look at the present, as seen from here; what must hold for good the
// store checks again when the change is applied.
type Reconfiguration struct {
	Node        *raftnode.Node
	Store       *kvcore.Store
	Self        uint64                        // this member
	Strict      bool                          // refuse what would lose the quorum
	ActiveSince func(member uint64) time.Time // since when it is connected; zero while it is not
	Now         func() time.Time
}

// voters counts the voting members but except; those that have ever started;
// and those that this member has been connected to for long enough.
func (r Reconfiguration) voters(except uint64) (all, started, healthy int) {
	for _, m := range r.Store.Members() {
		if m.GetIsLearner() || m.GetId() == except {
			continue
		}
		all++
		if m.GetName() != "" {
			started++
		}
		if since := r.ActiveSince(m.GetId()); m.GetId() == r.Self || !since.IsZero() && since.Before(r.Now().Add(-healthInterval)) {
			healthy++
		}
	}
	return all, started, healthy
}

func quorum(voters int) int { return voters/2 + 1 }

// mayAdd refuses a member where the voters that run would be no quorum with it,
// since it does not run yet. A lone member may always be joined by another.
func (r Reconfiguration) mayAdd(learner bool) error {
	if !r.Strict {
		return nil
	}
	all, started, healthy := r.voters(0)
	switch {
	case !learner && started < quorum(all+1) && !(all == 1 && started == 1):
		return errNotEnoughStarted
	case all > 1 && healthy < quorum(all+1):
		return errUnhealthy
	}
	return nil
}

// mayRemove refuses to remove a voter where those that are left and run would be
// no quorum. One that is down is no part of it.
func (r Reconfiguration) mayRemove(id uint64) error {
	if !r.Strict || r.isLearner(id) {
		return nil
	}
	left, started, _ := r.voters(id)
	if started < quorum(left) {
		return errNotEnoughStarted
	}
	if id != r.Self && r.ActiveSince(id).IsZero() {
		return nil
	}
	if all, _, healthy := r.voters(0); healthy-1 < 1+(all-1)/2 {
		return errUnhealthy
	}
	return nil
}

func (r Reconfiguration) isLearner(id uint64) bool {
	for _, m := range r.Store.Members() {
		if m.GetId() == id {
			return m.GetIsLearner()
		}
	}
	return false
}

// Promote makes a learner a voter, on the leader, and returns all members then.
func (r Reconfiguration) Promote(ctx context.Context, id uint64) ([]*coordpb.Member, error) {
	if err := r.mayPromote(ctx, id); err != nil {
		return nil, err
	}
	if _, err := r.Node.ProposeConfChange(ctx, &pb.MemberPromoteRequest{ID: id}); err != nil {
		return nil, err
	}
	return r.Store.Members(), nil
}

// mayPromote refuses a learner whose log is too far behind the leader's: as a
// voter it would count for the quorum and have nothing to answer with.
func (r Reconfiguration) mayPromote(ctx context.Context, id uint64) error {
	if err := r.Node.ReadIndex(ctx); err != nil {
		return err
	}
	all, err := r.Node.Progress(ctx)
	if err != nil {
		return err
	}
	learner, known := all[id]
	switch {
	case !known:
		return kvcore.ErrMemberNotFound
	case !r.isLearner(id):
		return kvcore.ErrNotLearner
	}
	if learner.Match*learnerReadyOf < all[r.Self].Match*learnerReady {
		return errLearnerNotReady
	}
	voters, started, _ := r.voters(id)
	if r.Strict && started+1 < quorum(voters+1) {
		return errNotEnoughStarted
	}
	return nil
}

// PromoteForPeer is Promote for another member that passes a client's call on;
// its errors are what that client shall see.
func (r Reconfiguration) PromoteForPeer(ctx context.Context, id uint64) ([]*coordpb.Member, error) {
	members, err := r.Promote(ctx, id)
	return members, wireError(err)
}
