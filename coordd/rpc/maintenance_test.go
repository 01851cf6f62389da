package rpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/quota"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// alarm raises, lifts or lists, and returns what is answered.
func (r *rig) alarm(t *testing.T, action pb.AlarmRequest_AlarmAction, member uint64, kind pb.AlarmType) []*pb.AlarmMember {
	t.Helper()
	response, err := pb.NewMaintenanceClient(r.conn).Alarm(t.Context(), &pb.AlarmRequest{Action: action, MemberID: member, Alarm: kind})
	if err != nil {
		t.Fatal(err)
	}
	checkHeader(t, response.Header)
	return response.Alarms
}

func TestAlarms(t *testing.T) {
	r := newRig(t, nil)
	const raise, lift, list = pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE, pb.AlarmRequest_GET
	r.alarm(t, raise, 7, pb.AlarmType_NOSPACE)
	r.alarm(t, raise, 8, pb.AlarmType_CORRUPT)
	if got := r.alarm(t, list, 0, pb.AlarmType_NONE); len(got) != 2 {
		t.Errorf("alarms: %v", got)
	}
	if got := r.alarm(t, list, 0, pb.AlarmType_CORRUPT); len(got) != 1 || got[0].MemberID != 8 {
		t.Errorf("alarms CORRUPT: %v", got)
	}
	got, err := r.client.Status(t.Context(), r.conn.Target())
	if err != nil || !slices.Equal(got.Errors, []string{"memberID:7 alarm:NOSPACE", "memberID:8 alarm:CORRUPT"}) {
		t.Errorf("status tells of %q, %v", got.Errors, err)
	}
	_, err = r.client.Put(t.Context(), "a", "b")
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a put: %v", err)
	}
	if _, err := r.client.Delete(t.Context(), "a"); err != nil {
		t.Errorf("a delete: %v", err)
	}
	if _, err := r.client.AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil { // all there are
		t.Fatal(err)
	}
	if got := r.alarm(t, list, 0, pb.AlarmType_NONE); len(got) != 0 {
		t.Errorf("alarms after all were lifted: %v", got)
	}
	r.put(t, "a", "b")
	r.alarm(t, lift, 7, pb.AlarmType_NOSPACE)
	for _, bad := range []*pb.AlarmRequest{{Action: 7, Alarm: pb.AlarmType_NOSPACE}, {Action: raise, Alarm: 77}} {
		if _, err := pb.NewMaintenanceClient(r.conn).Alarm(t.Context(), bad); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestMemberInDoubtServesNoData: what stands and runs ends, what is needed to find
// out and to mend goes on, and so does everything once the alarm is lifted.
func TestMemberInDoubtServesNoData(t *testing.T) {
	for name, member := range map[string]uint64{"this member": testMember, "nobody in particular": 0} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.put(t, "a", "b")
			stream := r.watch(t)
			stream.create(&pb.WatchCreateRequest{Key: []byte("a")})
			stream.next()
			r.alarm(t, pb.AlarmRequest_ACTIVATE, member, pb.AlarmType_CORRUPT)
			_, err := stream.Recv()
			wantStatus(t, "a watch under way", err, rpctypes.ErrGRPCCorrupt)
			for what, call := range map[string]func(ctx context.Context) error{
				"get": func(ctx context.Context) error { _, err := r.client.Get(ctx, "a"); return err },
				"serializable get": func(ctx context.Context) error {
					_, err := r.client.Get(ctx, "a", clientv3.WithSerializable())
					return err
				},
				"put":     func(ctx context.Context) error { _, err := r.client.Put(ctx, "a", "c"); return err },
				"delete":  func(ctx context.Context) error { _, err := r.client.Delete(ctx, "a"); return err },
				"compact": func(ctx context.Context) error { _, err := r.client.Compact(ctx, 1); return err },
				"grant":   func(ctx context.Context) error { _, err := r.client.Grant(ctx, 5); return err },
				"leases":  func(ctx context.Context) error { _, err := r.client.Leases(ctx); return err },
				"watch":   func(ctx context.Context) error { resp := <-r.client.Watch(ctx, "a"); return resp.Err() },
			} {
				if err := call(t.Context()); !errors.Is(err, rpctypes.ErrCorrupt) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := r.client.HashKV(t.Context(), r.conn.Target(), 0); err != nil {
				t.Errorf("hash: %v", err)
			}
			if _, _, err := r.snapshot(t); err != nil {
				t.Errorf("snapshot: %v", err)
			}
			r.alarm(t, pb.AlarmRequest_DEACTIVATE, member, pb.AlarmType_CORRUPT)
			r.put(t, "a", "d")
		})
	}
	r := newRig(t, nil)
	r.alarm(t, pb.AlarmRequest_ACTIVATE, testMember+1, pb.AlarmType_CORRUPT)
	r.put(t, "a", "another member is in doubt")
}

func TestQuotaIsChecked(t *testing.T) {
	r := newRig(t, func(cfg *Config) {
		cfg.Quota = &quota.Quota{Bytes: 1 << 20, Member: testMember, Store: cfg.Store, Node: cfg.Node, Logger: cfg.Logger}
	})
	var err error
	puts := 0
	for value := string(make([]byte, 50<<10)); err == nil && puts < 100; puts++ {
		_, err = r.client.Put(t.Context(), "a", value)
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) || puts < 10 || puts > 21 {
		t.Fatalf("put %d of 50 KiB into 1 MiB: %v", puts, err)
	}
	if got := r.alarm(t, pb.AlarmRequest_GET, 0, pb.AlarmType_NONE); len(got) != 1 || got[0].MemberID != testMember {
		t.Errorf("alarms: %v", got)
	}
	got, err := r.client.Status(t.Context(), r.conn.Target())
	if err != nil || got.DbSizeQuota != 1<<20 {
		t.Errorf("status says the quota is %d, %v", got.DbSizeQuota, err)
	}
	if _, err := r.client.Compact(t.Context(), got.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Defragment(t.Context(), r.conn.Target()); err != nil {
		t.Fatal(err)
	}
	r.alarm(t, pb.AlarmRequest_DEACTIVATE, testMember, pb.AlarmType_NOSPACE)
	r.put(t, "a", "b")
}

// TestDefragmentationOutlastsDeadline: a caller who runs out of time does not end
// it, one who goes away and a server that stops do.
func TestDefragmentationOutlastsDeadline(t *testing.T) {
	started, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	r := newRig(t, func(cfg *Config) {
		cfg.Defragment = func(ctx context.Context, _ func(done, total int64)) error {
			started <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
			ended <- ctx.Err()
			return ctx.Err()
		}
	})
	client := pb.NewMaintenanceClient(r.conn)
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	answered := make(chan error, 1)
	defragment := func(ctx context.Context) {
		_, err := client.Defragment(ctx, &pb.DefragmentRequest{})
		answered <- err
	}
	go defragment(short)
	<-started
	if err := <-answered; status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("out of time: %v", err)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("out of time, it ended with %v", err)
	}
	release = make(chan struct{})
	away, leave := context.WithCancel(t.Context())
	go defragment(away)
	<-started
	leave()
	<-answered
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("with nobody there, it ended with %v", err)
	}
	go defragment(t.Context())
	<-started
	go r.server.Stop(time.Minute)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("with the server, it ended with %v", err)
	}
	<-answered
}

// snapshot reads a whole snapshot: the file, and its checksum.
func (r *rig) snapshot(t *testing.T) (file, sum []byte, err error) {
	t.Helper()
	stream, err := pb.NewMaintenanceClient(r.conn).Snapshot(t.Context(), &pb.SnapshotRequest{})
	if err != nil {
		return nil, nil, err
	}
	var last *pb.SnapshotResponse
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return file, last.GetBlob(), nil
		}
		if err != nil {
			return nil, nil, err
		}
		if response.Version != kvcore.StorageVersion {
			t.Errorf("a chunk is of version %q", response.Version)
		}
		if last != nil {
			file = append(file, last.Blob...)
			if before := int64(last.RemainingBytes); before != int64(response.RemainingBytes)+int64(len(response.Blob)) && before != 0 {
				t.Errorf("%d bytes remained, then %d with a chunk of %d", before, response.RemainingBytes, len(response.Blob))
			}
		}
		last = response
	}
}

// TestSnapshotHoldsWhatWasAcknowledged: each snapshot, with what was written just
// before it, is whole and opens.
func TestSnapshotHoldsWhatWasAcknowledged(t *testing.T) {
	r := newRig(t, nil)
	for i := range 10 {
		want := r.put(t, fmt.Sprint(i), string(make([]byte, 20<<10)))
		file, sum, err := r.snapshot(t)
		if err != nil {
			t.Fatal(err)
		}
		if digest := sha256.Sum256(file); !bytes.Equal(digest[:], sum) {
			t.Fatalf("the checksum is %x, the file has %x", sum, digest)
		}
		b, err := backend.RestoreMemory(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		s, err := kvcore.Open(b, kvcore.Defaults())
		if err != nil {
			t.Fatal(err)
		}
		if s.Revision() != want {
			t.Errorf("the snapshot is of revision %d, a put at %d was acknowledged before", s.Revision(), want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSlowSnapshotHoldsNobodyUp: writes and flushes go on while a client does not
// read its snapshot.
func TestSlowSnapshotHoldsNobodyUp(t *testing.T) {
	r := newRig(t, nil)
	for i := range 20 {
		r.put(t, fmt.Sprint(i), string(make([]byte, 100<<10)))
	}
	stream, err := pb.NewMaintenanceClient(r.conn).Snapshot(t.Context(), &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	r.put(t, "a", "b")
	if err := r.node.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.put(t, "a", "c")
}

// TestSnapshotWithoutQuorum: a member that has lost its cluster gives away what it has.
func TestSnapshotWithoutQuorum(t *testing.T) {
	r := newRig(t, nil, 0x1, 0x2)
	if file, _, err := r.snapshot(t); err != nil || len(file) == 0 {
		t.Errorf("a snapshot of %d bytes, %v", len(file), err)
	}
}

func TestDowngrade(t *testing.T) {
	r := newRig(t, nil)
	downgrade := func(action pb.DowngradeRequest_DowngradeAction, version string) error {
		_, err := pb.NewMaintenanceClient(r.conn).Downgrade(t.Context(), &pb.DowngradeRequest{Action: action, Version: version})
		return err
	}
	for _, c := range []struct {
		version string
		want    error
	}{
		{"x", rpctypes.ErrGRPCWrongDowngradeVersionFormat},
		{"", rpctypes.ErrGRPCWrongDowngradeVersionFormat},
		{"3", rpctypes.ErrGRPCWrongDowngradeVersionFormat},
		{"3.5.0", rpctypes.ErrGRPCInvalidDowngradeTargetVersion},
		{"3.7", rpctypes.ErrGRPCInvalidDowngradeTargetVersion},
		{"3.8.0", rpctypes.ErrGRPCInvalidDowngradeTargetVersion},
		{"3.6", errNoDowngrade},
		{"3.6.4", errNoDowngrade},
	} {
		wantStatus(t, "validate "+c.version, downgrade(pb.DowngradeRequest_VALIDATE, c.version), c.want)
		wantStatus(t, "enable "+c.version, downgrade(pb.DowngradeRequest_ENABLE, c.version), c.want)
	}
	wantStatus(t, "cancel", downgrade(pb.DowngradeRequest_CANCEL, ""), nil)
}
