package conformance

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
)

// learner adds a member that learns, runs it and returns a rig that talks to it.
func (r *rig) learner() *rig {
	r.Helper()
	m, err := r.cluster.Prepare()
	if err != nil {
		r.Fatal(err)
	}
	if _, err := r.unnoted().MemberAdd(r.ctx, &pb.MemberAddRequest{PeerURLs: []string{m.PeerURL}, IsLearner: true}); err != nil {
		r.Fatal(err)
	}
	if err := m.Start(); err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.ctx, time.Minute)
	defer cancel()
	if err := m.AwaitReady(ctx); err != nil {
		r.Fatal(err)
	}
	learner := r.member(len(r.cluster.Members) - 1)
	learner.awaitServing()
	return learner
}

// awaitServing waits until the member answers with what was written last: a learner
// cannot be asked for more than it has.
func (r *rig) awaitServing() {
	r.Helper()
	unnoted := r.apart()
	for deadline := time.Now().Add(2 * callTimeout); ; time.Sleep(50 * time.Millisecond) {
		m, err := unnoted.Range(r.ctx, &pb.RangeRequest{Key: key("before"), Serializable: true})
		if err == nil && m.Count == 1 {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("the learner has not caught up: %v, %v", m, err)
		}
	}
}

var learnerBodies = []body{
	{"learner", func(r *rig) {
		r.put("before", "1")
		l := r.learner()
		l.Range(l.ctx, &pb.RangeRequest{Key: key("before"), Serializable: true})
		l.Range(l.ctx, &pb.RangeRequest{Key: key("before")})
		l.rangeStream(&pb.RangeRequest{Key: key("before"), Serializable: true})
		l.rangeStream(&pb.RangeRequest{Key: key("before")})
		l.Txn(l.ctx, &pb.TxnRequest{Success: ops(opGet("before"))})
		l.Txn(l.ctx, &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key("before"), Serializable: true}}})})
		l.Put(l.ctx, &pb.PutRequest{Key: key("x")})
		l.DeleteRange(l.ctx, &pb.DeleteRangeRequest{Key: key("x")})
		l.Compact(l.ctx, &pb.CompactionRequest{Revision: 1})
		l.LeaseGrant(l.ctx, &pb.LeaseGrantRequest{ID: 1, TTL: 100})
		l.LeaseLeases(l.ctx, &pb.LeaseLeasesRequest{})
		l.LeaseTimeToLive(l.ctx, &pb.LeaseTimeToLiveRequest{ID: 1})
		l.MemberList(l.ctx, &pb.MemberListRequest{Linearizable: true})
		l.MemberList(l.ctx, &pb.MemberListRequest{})
		l.MemberPromote(l.ctx, &pb.MemberPromoteRequest{ID: 404})
		l.Alarm(l.ctx, &pb.AlarmRequest{})
		l.HashKV(l.ctx, &pb.HashKVRequest{})
		l.Defragment(l.ctx, &pb.DefragmentRequest{})
		l.MoveLeader(l.ctx, &pb.MoveLeaderRequest{TargetID: 404})
		l.AuthStatus(l.ctx, &pb.AuthStatusRequest{})
		l.snapshotOutcome()
		w := l.watch()
		w.create(&pb.WatchCreateRequest{Key: key("before")})
		w.answer()
		l.keepAlive(1)
		status, err := l.unnoted().Status(l.ctx, &pb.StatusRequest{})
		l.note("status: learner %t, %v, %s", status.GetIsLearner(), status.GetErrors(), errorText(err))
		for _, path := range []string{"/health", "/health?serializable=true", "/livez", "/readyz", "/readyz/non_learner"} {
			l.http("GET", path, "")
		}
	}},
	{"promote", func(r *rig) {
		members, unnoted := r.members(), r.unnoted()
		for deadline := time.Now().Add(callTimeout); ; time.Sleep(100 * time.Millisecond) {
			_, err := unnoted.MemberPromote(r.ctx, &pb.MemberPromoteRequest{ID: members[1].ID})
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				r.Fatal(err)
			}
		}
		r.noteMembers()
		at := r.member(1)
		at.awaitLeader()
		at.Range(r.ctx, &pb.RangeRequest{Key: key("before")})
		at.put("by the new voter", "1")
	}},
}

// awaitLeader waits until the member knows a leader.
func (r *rig) awaitLeader() {
	r.Helper()
	unnoted := r.apart()
	for deadline := time.Now().Add(callTimeout); ; time.Sleep(50 * time.Millisecond) {
		_, err := unnoted.MemberList(r.ctx, &pb.MemberListRequest{Linearizable: true})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.Fatal(err)
		}
	}
}

// require says in a call that it shall fail without a leader.
func (r *rig) requireLeader() *rig {
	at := *r
	at.ctx = metadata.AppendToOutgoingContext(r.ctx, "hasleader", "true")
	return &at
}

var leaderlessBodies = []body{
	{"with a leader", func(r *rig) {
		at := r.requireLeader()
		at.put("a", "1")
		at.Range(at.ctx, &pb.RangeRequest{Key: key("a")})
		at.ctx = metadata.AppendToOutgoingContext(r.ctx, "hasleader", "false", "client-api-version", "3.3")
		at.put("a", "2")
		at.ctx = metadata.AppendToOutgoingContext(r.ctx, "hasleader", "nonsense", "hasleader", "true", "client-api-version", "no version")
		at.put("a", "3")
		at.Range(at.ctx, &pb.RangeRequest{Key: key("a")})
	}},
	{"without", func(r *rig) {
		at := r.requireLeader()
		w, plain := at.watch(), r.watch()
		w.create(&pb.WatchCreateRequest{Key: key("a")})
		w.answer()
		plain.create(&pb.WatchCreateRequest{Key: key("a")})
		plain.answer()
		keepAlive, err := at.LeaseKeepAlive(at.ctx)
		if err != nil {
			r.Fatal(err)
		}
		for _, m := range r.cluster.Members[1:] {
			m.Kill()
		}
		w.answer()
		_, err = keepAlive.Recv()
		r.note("keep alive: %s", errorText(err))
		r.note("watch again")
		w = at.watch()
		w.answer()
		at.Range(at.ctx, &pb.RangeRequest{Key: key("a")})
		at.Range(at.ctx, &pb.RangeRequest{Key: key("a"), Serializable: true})
		at.Put(at.ctx, &pb.PutRequest{Key: key("a")})
		at.LeaseGrant(at.ctx, &pb.LeaseGrantRequest{ID: 1, TTL: 100})
		at.MemberList(at.ctx, &pb.MemberListRequest{Linearizable: true})
		r.Range(r.ctx, &pb.RangeRequest{Key: key("a"), Serializable: true})
		r.rangeStream(&pb.RangeRequest{Key: key("a"), Serializable: true})
		r.Status(r.ctx, &pb.StatusRequest{})
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		r.Put(ctx, &pb.PutRequest{Key: key("a"), Value: key("in vain")})
		for _, path := range []string{"/health", "/health?serializable=true", "/livez", "/readyz/non_learner"} {
			r.http("GET", path, "")
		}
	}},
}

// limitedBodies need small limits of requests.
var limitedBodies = []body{
	{"operations", func(r *rig) {
		for n := 3; n <= 6; n++ {
			var puts []*pb.RequestOp
			for i := range n {
				puts = append(puts, opPut(fmt.Sprint("k", i), "v"))
			}
			r.Txn(r.ctx, &pb.TxnRequest{Success: puts})
			r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opGet("a"), opTxn(&pb.TxnRequest{Success: puts[1:]}))})
		}
	}},
	{"size", func(r *rig) {
		for _, size := range []int{60 << 10, 64 << 10, 128 << 10, 600 << 10} {
			value := make([]byte, size)
			unnoted := r.apart()
			_, err := unnoted.Put(r.ctx, &pb.PutRequest{Key: key("large"), Value: value})
			r.note("put of %d bytes: %s", size, errorText(err))
			_, err = unnoted.Txn(r.ctx, &pb.TxnRequest{Success: ops(opPut("large", string(value)))})
			r.note("txn of %d bytes: %s", size, errorText(err))
			_, err = unnoted.Range(r.ctx, &pb.RangeRequest{Key: value, Serializable: true})
			r.note("range of %d bytes: %s", size, errorText(err))
			// A role's name as long as that ends etcd 3.7.3: it is not asked here.
		}
	}},
}

// notifiedBodies need a short --watch-progress-notify-interval.
var notifiedBodies = []body{
	{"progress by itself", func(r *rig) {
		r.put("a", "1")
		w := r.watch()
		w.create(&pb.WatchCreateRequest{Key: key("b"), ProgressNotify: true})
		w.answer()
		w.answer()
		w.answer()
		r.put("a", "2")
		for { // one that was on its way may come first
			m, err := w.next()
			if err != nil {
				r.Fatal(err)
			}
			if m.Header.Revision == 3 {
				r.note("progress: %s", r.transcript.text(m))
				break
			}
		}
		r.put("b", "1")
		w.events(1)
	}},
}

// compactedBodies need a short --auto-compaction-retention.
var compactedBodies = []body{
	{"by itself", func(r *rig) {
		for i := range 3 {
			r.put("a", fmt.Sprint(i))
		}
		unnoted := r.apart()
		for deadline := time.Now().Add(callTimeout); ; time.Sleep(50 * time.Millisecond) {
			_, err := unnoted.Range(r.ctx, &pb.RangeRequest{Key: key("a"), Revision: 3})
			if err != nil {
				r.note("of the past: %s", errorText(err))
				break
			}
			if time.Now().After(deadline) {
				r.Fatal("nothing is compacted")
			}
		}
		r.Range(r.ctx, &pb.RangeRequest{Key: key("a"), Revision: 4})
	}},
}
