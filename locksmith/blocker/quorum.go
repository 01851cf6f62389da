package blocker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// maxBehind is how many entries of the log a member may be behind the others and
// still count. One that is further behind, or has just come back to its data, would be
// part of a quorum that cannot commit before it has caught up.
const maxBehind = 5000

// maxPatience bounds the question to one member. The client goes on asking one that is gone.
const maxPatience = 5 * time.Second

// quorum forbids to take away a member of the store without which those left are no quorum.
// A machine that is no member of the store does not concern it.
type quorum struct {
	store  *clientv3.Client
	member string // which one this machine is: MemberAuto, or its name

	patience time.Duration // with one member
}

func (*quorum) Name() string { return "quorum" }

func (q *quorum) Blocks(ctx context.Context) ([]string, error) {
	response, err := q.store.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the members of the store: %w", err)
	}
	ours, err := q.ours(ctx, response.Members)
	if err != nil || len(ours) == 0 {
		return nil, err
	}
	members := make([]member, len(response.Members))
	var asking errgroup.Group
	for i, m := range response.Members {
		asking.Go(func() error {
			members[i] = q.ask(ctx, m)
			return nil
		})
	}
	asking.Wait()
	return judge(members, ours), nil
}

// ours returns the ids of the members that go down with this machine.
func (q *quorum) ours(ctx context.Context, members []*pb.Member) (map[uint64]bool, error) {
	if q.member == MemberAuto {
		return here(ctx, members)
	}
	for _, m := range members {
		if m.Name == q.member {
			return map[uint64]bool{m.ID: true}, nil
		}
	}
	return nil, fmt.Errorf("the store has no member of the name %q", q.member)
}

// member is what is known of a member of the store.
type member struct {
	id      uint64
	name    string
	learner bool
	status  *clientv3.StatusResponse
	err     error // nil: there is a status
}

// ask asks a member about itself, at its URLs one after another.
func (q *quorum) ask(ctx context.Context, m *pb.Member) member {
	ctx, cancel := context.WithTimeout(ctx, q.patience)
	defer cancel()
	known := member{id: m.ID, name: cmp.Or(m.Name, fmt.Sprintf("%x", m.ID)), learner: m.IsLearner}
	if len(m.ClientURLs) == 0 {
		known.err = errors.New("it has not said where it serves clients")
	}
	for _, url := range m.ClientURLs {
		known.status, known.err = q.store.Status(ctx, url)
		if known.err != nil && ctx.Err() != nil {
			known.err = fmt.Errorf("no answer in %v", q.patience)
		}
		if known.err == nil && known.status.Header.GetMemberId() != m.ID {
			known.err = fmt.Errorf("at %s another member answers, %x", url, known.status.Header.GetMemberId())
		}
		if known.err == nil {
			break
		}
	}
	return known
}

// judge returns why the members of ours must not go: what is wrong with those that
// would be left, if they are no quorum of all.
func judge(members []member, ours map[uint64]bool) []string {
	members = slices.DeleteFunc(slices.Clone(members), func(m member) bool { return m.learner })
	if !slices.ContainsFunc(members, func(m member) bool { return ours[m.id] }) {
		return nil // a learner is missed by nobody
	}
	var term, index uint64
	for _, m := range members {
		if m.err == nil {
			term, index = max(term, m.status.RaftTerm), max(index, m.status.RaftIndex)
		}
	}
	left, healthy := 0, 0
	var why, alarms []string
	for _, m := range members {
		if m.err == nil && m.status.Leader != 0 { // one without a leader says just that
			alarms = append(alarms, m.status.Errors...)
		}
		if ours[m.id] {
			continue
		}
		left++
		if fault := m.fault(term, index); fault != "" {
			why = append(why, m.name+": "+fault)
		} else {
			healthy++
		}
	}
	slices.Sort(alarms)
	for _, alarm := range slices.Compact(alarms) {
		why = append(why, "the store says: "+alarm)
	}
	switch need := len(members)/2 + 1; {
	case left < need:
		return append([]string{fmt.Sprintf("without this machine %d of %d members of the store would be left, never a quorum", left, len(members))}, why...)
	case healthy < need:
		return append([]string{fmt.Sprintf("without this machine %d of %d members of the store would be left in order, a quorum is %d", healthy, len(members), need)}, why...)
	case len(alarms) > 0:
		return append([]string{"an alarm of the store is raised"}, why...)
	}
	return nil
}

// fault says why a member does not count, or nothing. term and index are the highest of all.
func (m *member) fault(term, index uint64) string {
	switch s := m.status; {
	case m.err != nil:
		return m.err.Error()
	case s.Leader == 0:
		return "knows no leader"
	case s.RaftTerm < term:
		return fmt.Sprintf("is in term %d, others are in %d", s.RaftTerm, term)
	case s.RaftAppliedIndex+maxBehind < index:
		return fmt.Sprintf("is %d entries behind", index-s.RaftAppliedIndex)
	}
	return ""
}
