package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/kvcore/backend"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// wantStatus compares what clients compare: code and text.
func wantStatus(t *testing.T, what string, got, want error) {
	t.Helper()
	if status.Code(got) != status.Code(want) || status.Convert(got).Message() != status.Convert(want).Message() {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestRefusedRequests(t *testing.T) {
	r := newRig(t, nil)
	kv, leases := pb.NewKVClient(r.conn), pb.NewLeaseClient(r.conn)
	ctx := t.Context()
	r.put(t, "a", "1")
	r.put(t, "a", "2")
	if _, err := r.client.Compact(ctx, 3); err != nil {
		t.Fatal(err)
	}
	put := func(r *pb.PutRequest) error { _, err := kv.Put(ctx, r); return err }
	get := func(r *pb.RangeRequest) error { _, err := kv.Range(ctx, r); return err }
	txn := func(ops ...*pb.RequestOp) error { _, err := kv.Txn(ctx, &pb.TxnRequest{Success: ops}); return err }
	compact := func(revision int64) error {
		_, err := kv.Compact(ctx, &pb.CompactionRequest{Revision: revision})
		return err
	}
	grant := func(r *pb.LeaseGrantRequest) error { _, err := leases.LeaseGrant(ctx, r); return err }
	if err := grant(&pb.LeaseGrantRequest{ID: 5, TTL: 100}); err != nil {
		t.Fatal(err)
	}
	_, deleteErr := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{})
	_, revokeErr := leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 99})
	large := make([]byte, 1536<<10)
	for _, c := range []struct {
		what      string
		got, want error
	}{
		{"put without key", put(&pb.PutRequest{}), rpctypes.ErrGRPCEmptyKey},
		{"delete without key", deleteErr, rpctypes.ErrGRPCEmptyKey},
		{"range without key", get(&pb.RangeRequest{}), rpctypes.ErrGRPCEmptyKey},
		{"put with unknown lease", put(&pb.PutRequest{Key: []byte("k"), Lease: 99}), rpctypes.ErrGRPCLeaseNotFound},
		{"put that keeps no value", put(&pb.PutRequest{Key: []byte("none"), IgnoreValue: true}), rpctypes.ErrGRPCKeyNotFound},
		{"put that keeps and gives a value", put(&pb.PutRequest{Key: []byte("a"), Value: []byte("v"), IgnoreValue: true}), rpctypes.ErrGRPCValueProvided},
		{"put that keeps and gives a lease", put(&pb.PutRequest{Key: []byte("a"), Lease: 5, IgnoreLease: true}), rpctypes.ErrGRPCLeaseProvided},
		{"large put", put(&pb.PutRequest{Key: []byte("a"), Value: large}), rpctypes.ErrGRPCRequestTooLarge},
		{"unknown sort", get(&pb.RangeRequest{Key: []byte("a"), SortTarget: 9}), rpctypes.ErrGRPCInvalidSortOption},
		{"range of compacted revision", get(&pb.RangeRequest{Key: []byte("a"), Revision: 2}), rpctypes.ErrGRPCCompacted},
		{"range of future revision", get(&pb.RangeRequest{Key: []byte("a"), Revision: 100}), rpctypes.ErrGRPCFutureRev},
		{"compaction of compacted revision", compact(2), rpctypes.ErrGRPCCompacted},
		{"compaction of future revision", compact(100), rpctypes.ErrGRPCFutureRev},
		{"transaction of empty operation", txn(&pb.RequestOp{}), rpctypes.ErrGRPCKeyNotFound},
		{"transaction of two puts of a key", txn(putOp("k"), putOp("k")), rpctypes.ErrGRPCDuplicateKey},
		{"transaction of 129 puts", txn(putOps(129)...), rpctypes.ErrGRPCTooManyOps},
		{"transaction of 128 puts", txn(putOps(128)...), nil},
		{"second lease of an id", grant(&pb.LeaseGrantRequest{ID: 5, TTL: 100}), rpctypes.ErrGRPCLeaseExist},
		{"long lease", grant(&pb.LeaseGrantRequest{TTL: 9_000_000_001}), rpctypes.ErrGRPCLeaseTTLTooLarge},
		{"revocation of no lease", revokeErr, rpctypes.ErrGRPCLeaseNotFound},
	} {
		wantStatus(t, c.what, c.got, c.want)
	}
}

func putOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func putOps(n int) (ops []*pb.RequestOp) {
	for i := range n {
		ops = append(ops, putOp(fmt.Sprint(i)))
	}
	return ops
}

func TestRequestBeyondTheFrameIsRefusedByGRPC(t *testing.T) {
	r := newRig(t, nil)
	_, err := pb.NewKVClient(r.conn).Put(t.Context(), &pb.PutRequest{Key: []byte("a"), Value: make([]byte, 2048<<10)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("put of 2 MiB: %v, want ResourceExhausted", err)
	}
}

func TestHeadersAreComplete(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	r.put(t, "a", "1")
	header := func(m interface{ GetHeader() *pb.ResponseHeader }, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		checkHeader(t, m.GetHeader())
	}
	kv, leases := pb.NewKVClient(r.conn), pb.NewLeaseClient(r.conn)
	maintenance, cluster := pb.NewMaintenanceClient(r.conn), pb.NewClusterClient(r.conn)
	call := func(m proto.Message, err error) (interface{ GetHeader() *pb.ResponseHeader }, error) {
		return m.(interface{ GetHeader() *pb.ResponseHeader }), err
	}
	header(call(kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})))
	header(call(kv.Put(ctx, &pb.PutRequest{Key: []byte("a")})))
	header(call(kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a")})))
	header(call(kv.Txn(ctx, &pb.TxnRequest{})))
	header(call(kv.Txn(ctx, &pb.TxnRequest{Success: putOps(1)})))
	header(call(kv.Compact(ctx, &pb.CompactionRequest{Revision: 2, Physical: true})))
	header(call(leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 7, TTL: 10})))
	header(call(leases.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 7})))
	header(call(leases.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{})))
	header(call(leases.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})))
	header(call(leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 7})))
	header(call(maintenance.Status(ctx, &pb.StatusRequest{})))
	header(call(maintenance.HashKV(ctx, &pb.HashKVRequest{})))
	header(call(maintenance.Hash(ctx, &pb.HashRequest{})))
	header(call(maintenance.Alarm(ctx, &pb.AlarmRequest{})))
	members, err := cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil {
		t.Fatal(err)
	}
	if h := members.Header; h.Revision != 0 || h.ClusterId == 0 || h.MemberId == 0 || h.RaftTerm == 0 {
		t.Errorf("header of the member list %v, want all but a revision, as in etcd", h)
	}
}

func TestStatus(t *testing.T) {
	r := newRig(t, nil)
	r.put(t, "a", "1")
	s, err := pb.NewMaintenanceClient(r.conn).Status(t.Context(), &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Version != "3.7.3" || s.Leader != testMember || s.RaftAppliedIndex == 0 || s.RaftIndex < s.RaftAppliedIndex ||
		s.RaftTerm == 0 || s.IsLearner || len(s.Errors) > 0 {
		t.Fatalf("status %v", s)
	}
}

func TestWithoutLeader(t *testing.T) {
	r := newRig(t, func(c *Config) { c.RequestTimeout = 100 * time.Millisecond }, 2, 3)
	kv := pb.NewKVClient(r.conn)
	needsLeader := metadata.AppendToOutgoingContext(t.Context(), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	serializable := &pb.RangeRequest{Key: []byte("a"), Serializable: true}

	_, err := kv.Range(needsLeader, serializable)
	wantStatus(t, "serializable range that requires a leader", err, rpctypes.ErrGRPCNoLeader)
	_, err = kv.Range(t.Context(), serializable)
	wantStatus(t, "serializable range", err, nil)
	_, err = kv.Txn(t.Context(), &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: serializable}}}})
	wantStatus(t, "serializable transaction", err, nil)

	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = kv.Txn(short, &pb.TxnRequest{})
	if code := status.Code(err); code != codes.DeadlineExceeded {
		t.Errorf("transaction that only compares: %v, want it to wait for a leader", err)
	}

	watch, err := pb.NewWatchClient(r.conn).Watch(needsLeader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = watch.Recv()
	wantStatus(t, "watch that requires a leader", err, rpctypes.ErrGRPCNoLeader)

	keepAlive, err := pb.NewLeaseClient(r.conn).LeaseKeepAlive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := keepAlive.Send(&pb.LeaseKeepAliveRequest{ID: 1}); err != nil {
		t.Fatal(err)
	}
	_, err = keepAlive.Recv()
	wantStatus(t, "keep-alive", err, rpctypes.ErrGRPCNoLeader)
}

func TestStreamsLearnThatTheLeaderIsLost(t *testing.T) {
	led := newRig(t, nil)
	if led.server.leaders.present().Err() != nil {
		t.Error("the leader is there and is said to be lost")
	}
	alone := newRig(t, nil, 2, 3)
	<-alone.server.leaders.present().Done()
}

func TestHealthService(t *testing.T) {
	r := newRig(t, nil)
	got, err := grpc_health_v1.NewHealthClient(r.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || got.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("health %v, %v", got, err)
	}
}

func TestRangeStreamIsTheRange(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxRequestBytes = 16 << 10 })
	const keys = 300
	for i := range keys {
		r.put(t, fmt.Sprintf("k%03d", i), strings.Repeat("v", i*3))
	}
	kv := pb.NewKVClient(r.conn)
	for _, request := range []*pb.RangeRequest{
		{Key: []byte("k"), RangeEnd: []byte("l")},
		{Key: []byte("k"), RangeEnd: []byte{0}, Limit: 57},
		{Key: []byte("k"), RangeEnd: []byte("l"), Revision: 100, KeysOnly: true},
		{Key: []byte("k"), RangeEnd: []byte("l"), CountOnly: true},
		{Key: []byte("k007")},
		{Key: []byte("none")},
		{Key: []byte("k"), RangeEnd: []byte("l"), SortOrder: pb.RangeRequest_ASCEND},
	} {
		whole, err := kv.Range(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		merged := new(pb.RangeResponse)
		chunks := collect(t, kv, request)
		for i, chunk := range chunks {
			if last := i == len(chunks)-1; (chunk.Header != nil) != last || !last && (chunk.More || chunk.Count != 0) {
				t.Errorf("%v: chunk %d of %d has header %v, more %t, count %d", request, i, len(chunks), chunk.Header, chunk.More, chunk.Count)
			}
			if size := proto.Size(chunk); size > 4*16<<10 {
				t.Errorf("%v: chunk %d has %d bytes", request, i, size)
			}
			proto.Merge(merged, chunk)
		}
		if !proto.Equal(merged, whole) {
			t.Errorf("%v: the stream is not the range:\n%v\n%v", request, merged, whole)
		}
	}
}

func collect(t *testing.T, kv pb.KVClient, request *pb.RangeRequest) (chunks []*pb.RangeResponse) {
	t.Helper()
	stream, err := kv.RangeStream(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return chunks
		}
		if err != nil {
			t.Fatalf("%v: %v", request, err)
		}
		chunks = append(chunks, chunk.RangeResponse)
	}
}

func TestRangeStreamRefusals(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		request *pb.RangeRequest
		want    codes.Code
	}{
		{&pb.RangeRequest{}, codes.InvalidArgument},
		{&pb.RangeRequest{Key: []byte("a"), SortOrder: pb.RangeRequest_ASCEND, SortTarget: pb.RangeRequest_MOD}, codes.Unimplemented},
		{&pb.RangeRequest{Key: []byte("a"), SortOrder: pb.RangeRequest_DESCEND}, codes.Unimplemented},
		{&pb.RangeRequest{Key: []byte("a"), MaxModRevision: 7}, codes.Unimplemented},
		{&pb.RangeRequest{Key: []byte("a"), Revision: 7}, codes.OutOfRange},
	} {
		stream, err := pb.NewKVClient(r.conn).RangeStream(t.Context(), c.request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != c.want {
			t.Errorf("%v: %v, want %s", c.request, err, c.want)
		}
	}
}

func TestPhysicalCompactionIsDoneWhenItReturns(t *testing.T) {
	r := newRig(t, nil)
	var last int64
	for i := range 100 {
		last = r.put(t, "a", fmt.Sprint(i))
	}
	if _, err := r.client.Compact(t.Context(), last, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	snapshot, err := r.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	var file bytes.Buffer
	if _, err := snapshot.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	b, err := backend.RestoreMemory(&file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	reader := b.Reader()
	defer reader.Release()
	records := 0
	reader.Ascend(backend.Key, nil, nil, func(_, _ []byte) bool { records++; return true })
	if records != 1 {
		t.Fatalf("the compaction was confirmed and the backend holds %d records", records)
	}
}

func TestStopEndsStreamsAndCalls(t *testing.T) {
	r := newRig(t, nil)
	s := r.watch(t)
	s.create(&pb.WatchCreateRequest{Key: []byte("a")})
	s.next()
	r.server.Stop(time.Minute)
	_, err := s.Recv()
	wantStatus(t, "watch at server stop", err, rpctypes.ErrGRPCStopped)
	_, err = pb.NewKVClient(r.conn).Range(t.Context(), &pb.RangeRequest{Key: []byte("a")}, grpc.WaitForReady(false))
	if status.Code(err) != codes.Unavailable {
		t.Errorf("range after server stop: %v, want Unavailable", err)
	}
}

func TestLargeValueRoundTrip(t *testing.T) {
	r := newRig(t, nil)
	value := bytes.Repeat([]byte{0, 0xff}, 512<<10)
	r.put(t, "large", string(value))
	response, err := r.client.Get(t.Context(), "large")
	if err != nil || len(response.Kvs) != 1 || !bytes.Equal(response.Kvs[0].Value, value) {
		t.Fatalf("get of a large value: %v", err)
	}
}
