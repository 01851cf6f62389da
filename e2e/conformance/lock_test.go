package conformance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/proto/v3lockpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
)

// told notes a refusal by its text alone: etcd's lock and election services lose the
// code of an error of the store, coordd's keep it.
func (r *rig) told(what string, err error) {
	r.Helper()
	r.note("%s: %s", what, status.Convert(err).Message())
}

// awaitKeys waits until n keys begin with a prefix.
func (r *rig) awaitKeys(prefix string, n int64) {
	r.Helper()
	unnoted, end := r.apart(), key(prefix)
	end[len(end)-1]++
	for deadline := time.Now().Add(callTimeout); ; time.Sleep(10 * time.Millisecond) {
		m, err := unnoted.Range(r.ctx, &pb.RangeRequest{Key: key(prefix), RangeEnd: end, CountOnly: true})
		if err != nil {
			r.Fatal(err)
		}
		if m.Count == n {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%d keys begin with %q, want %d", m.Count, prefix, n)
		}
	}
}

// waiting makes a call that has to wait, from a client of its own, and returns once
// its key below the name is there, the nth; what is returned waits for its end.
func (r *rig) waiting(name string, n int64, call func(r *rig) error) (outcome func() error) {
	r.Helper()
	other, done := r.apart(), make(chan error, 1)
	go func() { done <- call(other) }()
	r.awaitKeys(name+"/", n)
	return func() error {
		select {
		case err := <-done:
			return err
		case <-time.After(callTimeout):
			return errors.New("it waits for ever")
		}
	}
}

func (r *rig) lease(id int64) {
	r.Helper()
	r.LeaseGrant(r.ctx, &pb.LeaseGrantRequest{ID: id, TTL: 1000})
}

var lockBodies = []body{
	{"lock", func(r *rig) {
		r.lease(0x50)
		r.lease(0x51)
		r.Lock(r.ctx, &v3lockpb.LockRequest{Name: key("l"), Lease: 0x50})
		r.Lock(r.ctx, &v3lockpb.LockRequest{Name: key("l"), Lease: 0x50})
		r.Range(r.ctx, all())
		r.Unlock(r.ctx, &v3lockpb.UnlockRequest{Key: key("l/50")})
		r.Unlock(r.ctx, &v3lockpb.UnlockRequest{Key: key("l/50")})
		r.Lock(r.ctx, &v3lockpb.LockRequest{Lease: 0x51})
		r.Unlock(r.ctx, &v3lockpb.UnlockRequest{Key: key("/51")})
		unnoted := r.unnoted()
		_, err := unnoted.Lock(r.ctx, &v3lockpb.LockRequest{Name: key("l"), Lease: 0x404})
		r.told("a lease that there is not", err)
		_, err = unnoted.Unlock(r.ctx, &v3lockpb.UnlockRequest{})
		r.told("unlock nothing", err)
	}},
	{"a lease of its own", func(r *rig) {
		unnoted := r.unnoted()
		m, err := unnoted.Lock(r.ctx, &v3lockpb.LockRequest{Name: key("own")})
		if err != nil {
			r.Fatal(err)
		}
		kv, err := unnoted.Range(r.ctx, &pb.RangeRequest{Key: m.Key})
		if err != nil || len(kv.Kvs) != 1 {
			r.Fatalf("the key of a lock: %v, %v", kv, err)
		}
		ttl, err := unnoted.LeaseTimeToLive(r.ctx, &pb.LeaseTimeToLiveRequest{ID: kv.Kvs[0].Lease})
		if err != nil {
			r.Fatal(err)
		}
		r.note("the key is below the name: %t, the lease has %d s", bytes.HasPrefix(m.Key, key("own/")), ttl.GrantedTTL)
		_, err = unnoted.Unlock(r.ctx, &v3lockpb.UnlockRequest{Key: m.Key})
		r.note("unlock: %s", errorText(err))
	}},
	{"waiting", func(r *rig) {
		r.Lock(r.ctx, &v3lockpb.LockRequest{Name: key("w"), Lease: 0x50})
		outcome := r.waiting("w", 2, func(r *rig) error {
			_, err := r.Lock(r.ctx, &v3lockpb.LockRequest{Name: key("w"), Lease: 0x51})
			return err
		})
		r.Unlock(r.ctx, &v3lockpb.UnlockRequest{Key: key("w/50")})
		r.note("the next in the queue: %s", errorText(outcome()))
		r.Range(r.ctx, all())
		outcome = r.waiting("w", 2, func(r *rig) error {
			ctx, cancel := context.WithTimeout(r.ctx, time.Second)
			defer cancel()
			_, err := r.Lock(ctx, &v3lockpb.LockRequest{Name: key("w"), Lease: 0x50})
			return err
		})
		r.note("no longer: %s", status.Code(outcome()))
		r.awaitKeys("w/", 1)
		r.lease(0x52)
		outcome = r.waiting("w", 2, func(r *rig) error {
			_, err := r.Lock(r.ctx, &v3lockpb.LockRequest{Name: key("w"), Lease: 0x52})
			return err
		})
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 0x52})
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 0x51})
		r.note("without its lease: %s", errorText(outcome()))
		r.Range(r.ctx, all())
	}},
	// What etcd's lock library for Go writes is a lock to the service, and the other way round.
	{"the library's keys", func(r *rig) {
		r.lease(0x53)
		r.Put(r.ctx, &pb.PutRequest{Key: key("lib/53"), Lease: 0x53})
		outcome := r.waiting("lib", 2, func(r *rig) error {
			_, err := r.Lock(r.ctx, &v3lockpb.LockRequest{Name: key("lib"), Lease: 0x50})
			return err
		})
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 0x53})
		r.note("after the library's: %s", errorText(outcome()))
		r.Range(r.ctx, &pb.RangeRequest{Key: key("lib/"), RangeEnd: key("lib0")})
		r.Unlock(r.ctx, &v3lockpb.UnlockRequest{Key: key("lib/50")})
	}},
	{"election", func(r *rig) {
		r.lease(0x60)
		r.lease(0x61)
		r.Leader(r.ctx, &v3electionpb.LeaderRequest{Name: key("e")})
		r.Campaign(r.ctx, &v3electionpb.CampaignRequest{Name: key("e"), Lease: 0x60, Value: key("a")})
		r.Campaign(r.ctx, &v3electionpb.CampaignRequest{Name: key("e"), Lease: 0x60, Value: key("b")})
		r.Leader(r.ctx, &v3electionpb.LeaderRequest{Name: key("e")})
		leader := &v3electionpb.LeaderKey{Name: key("e"), Key: key("e/60"), Lease: 0x60}
		m, err := r.Leader(r.ctx, &v3electionpb.LeaderRequest{Name: key("e")})
		if err != nil {
			r.Fatal(err)
		}
		leader.Rev = m.Kv.CreateRevision
		r.Proclaim(r.ctx, &v3electionpb.ProclaimRequest{Leader: leader, Value: key("c")})
		r.Proclaim(r.ctx, &v3electionpb.ProclaimRequest{Value: key("c")})
		r.Proclaim(r.ctx, &v3electionpb.ProclaimRequest{Leader: &v3electionpb.LeaderKey{Name: key("e"), Key: key("e/60"), Rev: 1, Lease: 0x60}, Value: key("c")})
		stream, err := r.Observe(r.ctx, &v3electionpb.LeaderRequest{Name: key("e")})
		if err != nil {
			r.Fatal(err)
		}
		observe := func() {
			m, err := stream.Recv()
			if err != nil {
				r.Fatal(err)
			}
			r.note("observed: %s", r.transcript.text(m.Kv))
		}
		observe()
		r.Proclaim(r.ctx, &v3electionpb.ProclaimRequest{Leader: leader, Value: key("d")})
		observe()
		outcome := r.waiting("e", 2, func(r *rig) error {
			_, err := r.Campaign(r.ctx, &v3electionpb.CampaignRequest{Name: key("e"), Lease: 0x61, Value: key("second")})
			return err
		})
		r.Resign(r.ctx, &v3electionpb.ResignRequest{Leader: leader})
		r.note("the next: %s", errorText(outcome()))
		observe()
		r.Resign(r.ctx, &v3electionpb.ResignRequest{Leader: leader})
		r.Resign(r.ctx, &v3electionpb.ResignRequest{})
		r.Proclaim(r.ctx, &v3electionpb.ProclaimRequest{Leader: leader, Value: key("late")})
		r.Leader(r.ctx, &v3electionpb.LeaderRequest{Name: key("e")})
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 0x61})
		r.Leader(r.ctx, &v3electionpb.LeaderRequest{Name: key("e")})
		_, err = r.apart().Campaign(r.ctx, &v3electionpb.CampaignRequest{Name: key("e"), Lease: 0x404})
		r.told("a lease that there is not", err)
		r.Range(r.ctx, all())
	}},
	{"while the store is full", func(r *rig) {
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 5, Alarm: pb.AlarmType_NOSPACE})
		_, err := r.apart().Lock(r.ctx, &v3lockpb.LockRequest{Name: key("full"), Lease: 0x50})
		r.told("lock", err)
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 5, Alarm: pb.AlarmType_NOSPACE})
	}},
}

// snapshotOutcome reads a snapshot to its end and notes only how that was.
func (r *rig) snapshotOutcome() {
	r.Helper()
	stream, err := r.Snapshot(r.ctx, &pb.SnapshotRequest{})
	for err == nil {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	r.note("snapshot: %s", errorText(err))
}
