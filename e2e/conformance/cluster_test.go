package conformance

import (
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// members returns the members in the order of their names.
func (r *rig) members() []*pb.Member {
	r.Helper()
	m, err := r.unnoted().MemberList(r.ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil {
		r.Fatal(err)
	}
	byName := make([]*pb.Member, len(r.cluster.Members))
	for i, at := range r.cluster.Members {
		for _, member := range m.Members {
			if member.Name == at.Name {
				byName[i] = member
			}
		}
	}
	return byName
}

// noteMembers notes who is there, by name and role: ids and ports differ.
func (r *rig) noteMembers() {
	r.Helper()
	m, err := r.unnoted().MemberList(r.ctx, &pb.MemberListRequest{})
	if err != nil {
		r.note("members: %s", errorText(err))
		return
	}
	voters, learners, started := 0, 0, 0
	for _, member := range m.Members {
		if member.IsLearner {
			learners++
		} else {
			voters++
		}
		if len(member.ClientURLs) > 0 && member.Name != "" {
			started++
		}
	}
	r.note("members: %d vote, %d learn, %d have started; revision %d", voters, learners, started, m.Header.Revision)
}

// add notes the outcome of adding a member, without its ids, and returns its id.
func (r *rig) add(req *pb.MemberAddRequest) uint64 {
	r.Helper()
	m, err := r.unnoted().MemberAdd(r.ctx, req)
	if err != nil {
		r.note("add %v, learner %t: %s", req.PeerURLs, req.IsLearner, errorText(err))
		return 0
	}
	r.note("add %v, learner %t: %d members, %v, learner %t, name %q", req.PeerURLs, req.IsLearner, len(m.Members), m.Member.PeerURLs, m.Member.IsLearner, m.Member.Name)
	return m.Member.ID
}

var clusterBodies = []body{
	{"member list", func(r *rig) {
		r.noteMembers()
		filler := r.apart()
		for i := range 50 { // or a follower that lags by one entry is far behind
			filler.put("filler", fmt.Sprint(i))
		}
		for _, m := range r.members() {
			r.note("%s: %d peer URLs, %d client URLs, learner %t", m.Name, len(m.PeerURLs), len(m.ClientURLs), m.IsLearner)
		}
	}},
	{"healthy", func(r *rig) {
		// Members count as healthy when they have been connected for a while; until then
		// no request to change them gets far.
		unnoted := r.apart()
		there := &pb.MemberAddRequest{PeerURLs: []string{r.cluster.Members[1].PeerURL}}
		for deadline := time.Now().Add(callTimeout); ; time.Sleep(100 * time.Millisecond) {
			_, err := unnoted.MemberAdd(r.ctx, there)
			if errorText(err) == errorText(rpctypes.ErrGRPCPeerURLExist) {
				return
			}
			if time.Now().After(deadline) {
				r.Fatal(err)
			}
		}
	}},
	{"wrong members", func(r *rig) {
		r.add(&pb.MemberAddRequest{})
		r.add(&pb.MemberAddRequest{PeerURLs: []string{"127.0.0.1:1"}})
		r.add(&pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1"}})
		r.add(&pb.MemberAddRequest{PeerURLs: []string{"ftp://127.0.0.1:1"}})
		r.add(&pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1/path"}})
		r.add(&pb.MemberAddRequest{PeerURLs: []string{"::"}})
		r.MemberRemove(r.ctx, &pb.MemberRemoveRequest{ID: 404})
		r.MemberPromote(r.ctx, &pb.MemberPromoteRequest{ID: 404})
		r.MemberUpdate(r.ctx, &pb.MemberUpdateRequest{ID: 404, PeerURLs: []string{"http://127.0.0.1:1"}})
		// etcd stores any text as a member's URLs: on purpose not so here.
		lines := r.transcript.lines
		members := r.members()
		_, promote := r.MemberPromote(r.ctx, &pb.MemberPromoteRequest{ID: members[1].ID})
		_, add := r.MemberAdd(r.ctx, &pb.MemberAddRequest{PeerURLs: members[1].PeerURLs})
		_, update := r.MemberUpdate(r.ctx, &pb.MemberUpdateRequest{ID: members[0].ID, PeerURLs: members[1].PeerURLs})
		r.transcript.lines = lines
		r.note("promote a voter: %s", errorText(promote))
		r.note("add a member's URLs: %s", errorText(add))
		r.note("update to another's URLs: %s", errorText(update))
	}},
	{"learner", func(r *rig) {
		id := r.add(&pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true})
		r.noteMembers()
		r.add(&pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:2"}, IsLearner: true})
		lines := r.transcript.lines
		_, promote := r.MemberPromote(r.ctx, &pb.MemberPromoteRequest{ID: id})
		_, move := r.MoveLeader(r.ctx, &pb.MoveLeaderRequest{TargetID: id})
		_, update := r.MemberUpdate(r.ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: []string{"http://127.0.0.1:3", "http://127.0.0.1:4"}})
		_, remove := r.MemberRemove(r.ctx, &pb.MemberRemoveRequest{ID: id})
		_, again := r.MemberRemove(r.ctx, &pb.MemberRemoveRequest{ID: id})
		_, gone := r.MemberPromote(r.ctx, &pb.MemberPromoteRequest{ID: id})
		r.transcript.lines = lines
		r.note("promote: %s", errorText(promote))
		r.note("move the leader there (from any member): refused %t", move != nil)
		r.note("update: %s", errorText(update))
		r.note("remove: %s", errorText(remove))
		r.note("remove again: %s", errorText(again))
		r.note("promote after: %s", errorText(gone))
		r.noteMembers()
	}},
	{"move leader", func(r *rig) {
		lines := r.transcript.lines
		status, err := r.Status(r.ctx, &pb.StatusRequest{})
		if err != nil {
			r.Fatal(err)
		}
		var leader, follower *rig
		var target uint64
		for i, m := range r.members() {
			if m.ID == status.Leader {
				leader = r.member(i)
			} else {
				follower, target = r.member(i), m.ID
			}
		}
		_, notLeader := follower.MoveLeader(r.ctx, &pb.MoveLeaderRequest{TargetID: target})
		_, unknown := leader.MoveLeader(r.ctx, &pb.MoveLeaderRequest{TargetID: 404})
		_, zero := leader.MoveLeader(r.ctx, &pb.MoveLeaderRequest{})
		_, self := leader.MoveLeader(r.ctx, &pb.MoveLeaderRequest{TargetID: status.Leader})
		_, moved := leader.MoveLeader(r.ctx, &pb.MoveLeaderRequest{TargetID: target})
		after, err := follower.Status(r.ctx, &pb.StatusRequest{})
		if err != nil {
			r.Fatal(err)
		}
		r.transcript.lines = lines
		r.note("asked of a follower: %s", errorText(notLeader))
		r.note("to an unknown member: %s", errorText(unknown))
		r.note("to member 0: %s", errorText(zero))
		r.note("to itself: %s", errorText(self))
		r.note("to a follower: %s; it leads: %t", errorText(moved), after.Leader == target)
	}},
	{"remove a voter", func(r *rig) {
		unnoted := r.apart()
		last := unnoted.members()[2]
		_, err := r.unnoted().MemberRemove(r.ctx, &pb.MemberRemoveRequest{ID: last.ID})
		r.note("remove: %s", errorText(err))
		r.noteMembers()
		select {
		case <-r.cluster.Members[2].Exited():
		case <-time.After(callTimeout):
			r.Fatal("the removed member does not stop")
		}
		for deadline := time.Now().Add(2 * callTimeout); ; { // the leader may have been the one that went
			if _, err := unnoted.Put(r.ctx, &pb.PutRequest{Key: key("after"), Value: key("1")}); err == nil {
				break
			} else if time.Now().After(deadline) {
				r.Fatal(err)
			}
		}
		// Of two, none may go that the other could not replace.
		r.cluster.Members[1].Kill()
		self := unnoted.membersHere()[0].ID
		// A member that has not noticed yet proposes it, in vain.
		for err = rpctypes.ErrGRPCTimeout; errorText(err) == errorText(rpctypes.ErrGRPCTimeout); {
			_, err = unnoted.MemberRemove(r.ctx, &pb.MemberRemoveRequest{ID: self})
		}
		r.note("remove the one of two that lives: %s", errorText(err))
	}},
}

// membersHere lists the members as this one knows them, the asked one first.
func (r *rig) membersHere() []*pb.Member {
	r.Helper()
	m, err := r.MemberList(r.ctx, &pb.MemberListRequest{})
	if err != nil {
		r.Fatal(err)
	}
	for i, member := range m.Members {
		if member.ID == m.Header.MemberId {
			m.Members[0], m.Members[i] = m.Members[i], m.Members[0]
		}
	}
	return m.Members
}

// addAgain asks to add a member that there is: whoever may add members is told so.
// Wrong URLs would not do: etcd refuses them before it looks who asks.
func (r *rig) addAgain() {
	r.Helper()
	_, err := r.unnoted().MemberAdd(r.ctx, &pb.MemberAddRequest{PeerURLs: []string{r.cluster.Members[0].PeerURL}})
	r.note("add a member's URLs: %s", errorText(err))
}
