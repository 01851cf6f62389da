package rpc

import (
	"fmt"
	"testing"
	"time"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/status"
)

// alone is the configuration of a member that is connected to nobody.
func alone(c *Config) {
	c.StrictReconfigCheck, c.MaxLearners = true, 1
	c.ActiveSince = func(uint64) time.Time { return time.Time{} }
}

func TestMembersAreChanged(t *testing.T) {
	r := newRig(t, alone)
	ctx, cluster := t.Context(), pb.NewClusterClient(r.conn)
	added, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://B.example:1", "http://a.example:1"}, IsLearner: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(added.Members) != 2 || !added.Member.IsLearner || fmt.Sprint(added.Member.PeerURLs) != "[http://a.example:1 http://b.example:1]" {
		t.Errorf("added %v", added)
	}
	if h := added.Header; h.ClusterId != testCluster || h.MemberId != testMember || h.RaftTerm == 0 || h.Revision != 0 {
		t.Errorf("header %v: as etcd's, without a revision", h)
	}
	id := added.Member.ID
	updated, err := cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: []string{"http://c.example:1"}})
	if err != nil || len(updated.Members) != 2 {
		t.Fatalf("updated %v, %v", updated, err)
	}
	removed, err := cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
	if err != nil || len(removed.Members) != 1 {
		t.Fatalf("removed %v, %v", removed, err)
	}
	if r.store.Members()[0].Id != testMember || !r.store.Removed(id) {
		t.Errorf("members %v, removed %t", r.store.Members(), r.store.Removed(id))
	}
}

func TestChangesOfMembersAreRefused(t *testing.T) {
	r := newRig(t, alone)
	ctx, cluster := t.Context(), pb.NewClusterClient(r.conn)
	learner, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://a.example:1"}, IsLearner: true})
	if err != nil {
		t.Fatal(err)
	}
	add := func(learner bool, urls ...string) error {
		_, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: urls, IsLearner: learner})
		return err
	}
	remove := func(id uint64) error {
		_, err := cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
		return err
	}
	promote := func(id uint64) error {
		_, err := cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
		return err
	}
	update := func(id uint64, urls ...string) error {
		_, err := cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: urls})
		return err
	}
	move := func(id uint64) error {
		_, err := pb.NewMaintenanceClient(r.conn).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: id})
		return err
	}
	for name, c := range map[string]struct{ got, want error }{
		"no URL":                   {add(false), rpctypes.ErrGRPCMemberBadURLs},
		"no URL of a member":       {add(false, "ftp://a.example:1"), rpctypes.ErrGRPCMemberBadURLs},
		"a URL that is taken":      {add(false, "http://127.0.0.1:1"), rpctypes.ErrGRPCPeerURLExist},
		"one learner too many":     {add(true, "http://b.example:1"), rpctypes.ErrGRPCTooManyLearners},
		"removing a stranger":      {remove(99), rpctypes.ErrGRPCMemberNotFound},
		"removing the last voter":  {remove(testMember), rpctypes.ErrGRPCMemberNotEnoughStarted},
		"promoting a stranger":     {promote(99), rpctypes.ErrGRPCMemberNotFound},
		"promoting a voter":        {promote(testMember), rpctypes.ErrGRPCMemberNotLearner},
		"promoting one behind":     {promote(learner.Member.ID), rpctypes.ErrGRPCLearnerNotReady},
		"updating a stranger":      {update(99, "http://b.example:1"), rpctypes.ErrGRPCMemberNotFound},
		"updating to a taken URL":  {update(learner.Member.ID, "http://127.0.0.1:1"), rpctypes.ErrGRPCPeerURLExist},
		"updating to no URL":       {update(testMember), rpctypes.ErrGRPCMemberBadURLs},
		"leadership to a stranger": {move(99), rpctypes.ErrGRPCBadLeaderTransferee},
		"leadership to a learner":  {move(learner.Member.ID), rpctypes.ErrGRPCBadLeaderTransferee},
		"leadership to the leader": {move(testMember), nil},
	} {
		if status.Convert(c.got).String() != status.Convert(c.want).String() {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	if len(r.store.Members()) != 2 {
		t.Errorf("members %v: a refused change counts", r.store.Members())
	}
}

// Without strictness the store alone stands before a cluster without voters.
func TestLastVoterStaysWithoutStrictness(t *testing.T) {
	r := newRig(t, func(c *Config) { alone(c); c.StrictReconfigCheck = false })
	_, err := pb.NewClusterClient(r.conn).MemberRemove(t.Context(), &pb.MemberRemoveRequest{ID: testMember})
	if status.Convert(err).Message() != rpctypes.ErrorDesc(rpctypes.ErrGRPCMemberNotEnoughStarted) {
		t.Errorf("removing the last voter: %v", err)
	}
	r.put(t, "k", "v")
}

func TestFollowerDoesNotMoveLeadership(t *testing.T) {
	r := newRig(t, alone, 1, 2)
	_, err := pb.NewMaintenanceClient(r.conn).MoveLeader(t.Context(), &pb.MoveLeaderRequest{TargetID: 1})
	if status.Convert(err).String() != status.Convert(rpctypes.ErrGRPCNotLeader).String() {
		t.Errorf("moving leadership without leading: %v", err)
	}
}

// TestStrictReconfiguration holds the rules to etcd's, by what runs and what is
// connected: s is a voter that is started and connected for long, n one for a
// moment only, d one that is down, u one that has never started, l a learner.
// The first is this member.
func TestStrictReconfiguration(t *testing.T) {
	for _, c := range []struct {
		members               string
		addVoter, addLearner  error
		removeSelf, removeTwo error // this member, the second one
	}{
		{"s", nil, nil, errNotEnoughStarted, nil},
		{"ss", nil, nil, nil, nil},
		{"sn", errUnhealthy, errUnhealthy, errUnhealthy, errUnhealthy},
		{"sss", nil, nil, nil, nil},
		{"ssd", errUnhealthy, errUnhealthy, errUnhealthy, errUnhealthy},
		{"sds", errUnhealthy, errUnhealthy, errUnhealthy, nil},
		{"ssn", errUnhealthy, errUnhealthy, errUnhealthy, errUnhealthy},
		{"su", errNotEnoughStarted, errUnhealthy, errNotEnoughStarted, nil},
		{"suu", errNotEnoughStarted, errUnhealthy, errNotEnoughStarted, errNotEnoughStarted},
		{"sl", nil, nil, errNotEnoughStarted, nil},
		{"sssss", nil, nil, nil, nil},
		{"sssdd", errUnhealthy, errUnhealthy, errUnhealthy, errUnhealthy},
		{"ssssd", nil, nil, nil, nil},
	} {
		r := reconfigurationOf(t, c.members)
		for what, pair := range map[string][2]error{
			"add a voter":       {r.mayAdd(false), c.addVoter},
			"add a learner":     {r.mayAdd(true), c.addLearner},
			"remove itself":     {r.mayRemove(1), c.removeSelf},
			"remove the second": {r.mayRemove(2), c.removeTwo},
		} {
			if len(c.members) == 1 && what == "remove the second" {
				continue
			}
			if pair[0] != pair[1] {
				t.Errorf("%s: %s: %v, want %v", c.members, what, pair[0], pair[1])
			}
		}
		r.Strict = false
		if err := r.mayAdd(false); err != nil {
			t.Errorf("%s: without strictness: %v", c.members, err)
		}
	}
}

func reconfigurationOf(t *testing.T, members string) Reconfiguration {
	t.Helper()
	store, err := kvcore.Open(backend.NewMemory(), kvcore.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	now := time.Now()
	var records []*coordpb.Member
	active := map[uint64]time.Time{}
	for i, kind := range members {
		m := &coordpb.Member{Id: uint64(i + 1), Name: fmt.Sprint(i), IsLearner: kind == 'l'}
		switch kind {
		case 's':
			active[m.Id] = now.Add(-time.Minute)
		case 'n':
			active[m.Id] = now
		case 'u':
			m.Name = ""
		}
		records = append(records, m)
	}
	if err := store.Bootstrap(1, 1, &raftpb.ConfState{}, records); err != nil {
		t.Fatal(err)
	}
	return Reconfiguration{
		Store: store, Self: 1, Strict: true, Now: func() time.Time { return now },
		ActiveSince: func(id uint64) time.Time {
			if id == 1 {
				return time.Time{} // nobody is connected to himself
			}
			return active[id]
		},
	}
}
