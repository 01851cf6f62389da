package conformance

import (
	"io"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var leaseBodies = []body{
	{"grant and revoke", func(r *rig) {
		for _, g := range []*pb.LeaseGrantRequest{
			{ID: 1, TTL: 100}, {ID: 1, TTL: 100}, {ID: 2, TTL: 1}, {ID: 3, TTL: 0}, {ID: 4, TTL: -1},
			{ID: 5, TTL: 9_000_000_000}, {ID: 6, TTL: 9_000_000_001}, {ID: -1, TTL: 100}, {TTL: 100},
		} {
			r.LeaseGrant(r.ctx, g)
		}
		r.leases()
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 2})
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 2})
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{})
	}},
	{"keys of a lease", func(r *rig) {
		r.LeaseGrant(r.ctx, &pb.LeaseGrantRequest{ID: 10, TTL: 1000})
		r.LeaseGrant(r.ctx, &pb.LeaseGrantRequest{ID: 11, TTL: 1000})
		for _, k := range []string{"b", "a", "c"} {
			r.Put(r.ctx, &pb.PutRequest{Key: key("k/" + k), Value: key("1"), Lease: 10})
		}
		r.Put(r.ctx, &pb.PutRequest{Key: key("k/c"), Lease: 11})
		r.put("k/a", "2")
		r.timeToLive(&pb.LeaseTimeToLiveRequest{ID: 10, Keys: true})
		r.timeToLive(&pb.LeaseTimeToLiveRequest{ID: 11, Keys: true})
		r.timeToLive(&pb.LeaseTimeToLiveRequest{ID: 11})
		w := r.watch()
		w.create(&pb.WatchCreateRequest{Key: key("k/"), RangeEnd: key("k0"), PrevKv: true})
		w.answer()
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 10})
		w.events(1)
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 11})
		w.events(1)
		r.Range(r.ctx, all())
	}},
	{"time to live", func(r *rig) {
		r.timeToLive(&pb.LeaseTimeToLiveRequest{})
		r.timeToLive(&pb.LeaseTimeToLiveRequest{ID: 404})
		r.timeToLive(&pb.LeaseTimeToLiveRequest{ID: 404, Keys: true})
		r.timeToLive(&pb.LeaseTimeToLiveRequest{ID: 1})
	}},
	{"keep alive", func(r *rig) {
		r.keepAlive(1, 404, 0, 5, 1)
	}},
	{"expiry", func(r *rig) {
		r.LeaseGrant(r.ctx, &pb.LeaseGrantRequest{ID: 20, TTL: 2})
		r.Put(r.ctx, &pb.PutRequest{Key: key("x/2"), Value: key("v"), Lease: 20})
		r.Put(r.ctx, &pb.PutRequest{Key: key("x/1"), Value: key("v"), Lease: 20})
		w := r.watch()
		w.create(&pb.WatchCreateRequest{Key: key("x/"), RangeEnd: key("x0")})
		w.answer()
		w.events(2)
		r.timeToLive(&pb.LeaseTimeToLiveRequest{ID: 20, Keys: true})
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 20})
	}},
}

// keepAlive renews leases over one stream.
func (r *rig) keepAlive(ids ...int64) {
	r.Helper()
	stream, err := r.LeaseKeepAlive(r.ctx)
	if err != nil {
		r.Fatal(err)
	}
	defer stream.CloseSend()
	for _, id := range ids {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil && err != io.EOF {
			r.Fatal(err)
		}
		m, err := stream.Recv()
		if err != nil {
			r.note("keep alive %d: %s", id, errorText(err))
			return
		}
		r.note("keep alive %d: %s", id, r.transcript.text(m))
	}
}

// leases lists them in an order of the test's own: etcd's is by expiry.
func (r *rig) leases() {
	r.Helper()
	lines := r.transcript.lines
	m, err := r.LeaseLeases(r.ctx, &pb.LeaseLeasesRequest{})
	if r.transcript.lines = lines; err != nil {
		r.Fatal(err)
	}
	slices.SortFunc(m.Leases, func(a, b *pb.LeaseStatus) int {
		return strings.Compare(r.transcript.text(a), r.transcript.text(b))
	})
	r.note("Lease/LeaseLeases → %s", r.transcript.text(m))
}

// timeToLive asks without noting how much exactly is left.
func (r *rig) timeToLive(req *pb.LeaseTimeToLiveRequest) {
	r.Helper()
	lines := r.transcript.lines
	m, err := r.LeaseTimeToLive(r.ctx, req)
	r.transcript.lines = lines
	r.note("Lease/LeaseTimeToLive %s", r.transcript.text(req))
	if err != nil {
		r.note("  %s", errorText(err))
		return
	}
	if granted := m.GrantedTTL; m.TTL > granted-int64(time.Minute/time.Second) && m.TTL <= granted {
		m.TTL = granted
	}
	r.note("  → %s", r.transcript.text(m))
}
