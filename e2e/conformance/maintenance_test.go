package conformance

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// defragment notes the outcome alone: coordd's answer has a header, etcd's has none.
func (r *rig) defragment() {
	r.Helper()
	_, err := r.unnoted().Defragment(r.ctx, &pb.DefragmentRequest{})
	r.note("Maintenance/Defragment: %s", errorText(err))
}

var maintenanceBodies = []body{
	{"status", func(r *rig) {
		r.Status(r.ctx, &pb.StatusRequest{})
		r.put("a", "1")
		r.put("b", "1")
		lines := r.transcript.lines
		hash, err := r.Hash(r.ctx, &pb.HashRequest{})
		r.transcript.lines = lines // a sum over the file, which is a server's own affair
		r.note("hash: %s, revision %d", errorText(err), hash.GetHeader().GetRevision())
		r.HashKV(r.ctx, &pb.HashKVRequest{})
		r.HashKV(r.ctx, &pb.HashKVRequest{Revision: 2})
		r.HashKV(r.ctx, &pb.HashKVRequest{Revision: -2})
	}},
	{"alarms", func(r *rig) {
		list := func() { r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET}) }
		list()
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 5, Alarm: pb.AlarmType_NOSPACE})
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 5, Alarm: pb.AlarmType_NOSPACE})
		list()
		r.Alarm(r.ctx, &pb.AlarmRequest{Alarm: pb.AlarmType_NOSPACE})
		r.Alarm(r.ctx, &pb.AlarmRequest{Alarm: pb.AlarmType_CORRUPT})
		r.Status(r.ctx, &pb.StatusRequest{})
		r.Put(r.ctx, &pb.PutRequest{Key: key("full"), Value: key("1")})
		r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opPut("full", "1"))})
		r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opDelete("a", ""))})
		r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opGet("a"))})
		r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opTxn(&pb.TxnRequest{Success: ops(opPut("full", "1"))}))})
		r.LeaseGrant(r.ctx, &pb.LeaseGrantRequest{ID: 1, TTL: 100})
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("b")})
		r.Range(r.ctx, all())
		r.Compact(r.ctx, &pb.CompactionRequest{Revision: 2, Physical: true})
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 6, Alarm: pb.AlarmType_NOSPACE})
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 5, Alarm: pb.AlarmType_CORRUPT})
		list()
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 5, Alarm: pb.AlarmType_NOSPACE})
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 5, Alarm: pb.AlarmType_NOSPACE})
		list()
		r.Put(r.ctx, &pb.PutRequest{Key: key("full"), Value: key("1")})
		// An action that there is not makes etcd 3.7.3 panic: it is not asked here.
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 5})
		list()
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 5})
	}},
	// With the id of a member, etcd stops the whole cluster's writes and coordd that
	// member alone: on purpose. Reads go on in etcd.
	{"corrupt alarm", func(r *rig) {
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_CORRUPT})
		r.Put(r.ctx, &pb.PutRequest{Key: key("c"), Value: key("1")})
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("a")})
		r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opPut("c", "1"))})
		r.Compact(r.ctx, &pb.CompactionRequest{Revision: 3})
		r.LeaseGrant(r.ctx, &pb.LeaseGrantRequest{ID: 2, TTL: 100})
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 2})
		r.Status(r.ctx, &pb.StatusRequest{})
		r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_CORRUPT})
		r.Put(r.ctx, &pb.PutRequest{Key: key("c"), Value: key("1")})
	}},
	{"defragment", func(r *rig) {
		r.defragment()
		r.Range(r.ctx, all())
		r.HashKV(r.ctx, &pb.HashKVRequest{})
	}},
	{"snapshot", func(r *rig) {
		for i := range 8 {
			if _, err := r.unnoted().Put(r.ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "large/%d", i), Value: make([]byte, 1<<20)}); err != nil {
				r.Fatal(err)
			}
		}
		stream, err := r.Snapshot(r.ctx, &pb.SnapshotRequest{})
		if err != nil {
			r.Fatal(err)
		}
		var blob []byte
		left, version := ^uint64(0), ""
		falling := true
		for {
			chunk, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				r.note("snapshot: %s", errorText(err))
				return
			}
			falling = falling && chunk.RemainingBytes <= left
			left, version = chunk.RemainingBytes, chunk.Version
			blob = append(blob, chunk.Blob...)
		}
		trailer := len(blob) - sha256.Size
		sum := sha256.Sum256(blob[:trailer])
		r.note("snapshot: sum fits: %t, a multiple of 512: %t, remaining falls: %t to %d, version %s",
			string(sum[:]) == string(blob[trailer:]), trailer%512 == 0, falling, left, version)
	}},
	{"downgrade", func(r *rig) {
		for _, d := range []*pb.DowngradeRequest{
			{}, {Action: pb.DowngradeRequest_VALIDATE, Version: "x"}, {Action: pb.DowngradeRequest_VALIDATE, Version: "3.7.0"},
			// 3.6.0 etcd could be downgraded to; coordd has no such release: on purpose.
			{Action: pb.DowngradeRequest_VALIDATE, Version: "3.5"},
			{Action: pb.DowngradeRequest_VALIDATE, Version: "4.0"}, {Action: pb.DowngradeRequest_CANCEL},
			{Action: pb.DowngradeRequest_ENABLE, Version: "3.5.0"}, {Action: 9},
		} {
			r.Downgrade(r.ctx, d)
		}
	}},
	{"move leader alone", func(r *rig) {
		r.MoveLeader(r.ctx, &pb.MoveLeaderRequest{TargetID: 7})
		r.MoveLeader(r.ctx, &pb.MoveLeaderRequest{})
	}},
}

// quotaBodies need a small --quota-backend-bytes.
var quotaBodies = []body{
	{"quota", func(r *rig) {
		r.Status(r.ctx, &pb.StatusRequest{})
		value := make([]byte, 512<<10)
		refused := false
		for range 64 {
			_, err := r.KVClient.Put(r.ctx, &pb.PutRequest{Key: key("q"), Value: value})
			if err != nil {
				r.transcript.lines = nil
				r.note("put: %s", errorText(err))
				refused = true
				break
			}
		}
		r.note("refused in the end: %t", refused)
		r.LeaseGrant(r.ctx, &pb.LeaseGrantRequest{ID: 3, TTL: 100})
		r.Alarm(r.ctx, &pb.AlarmRequest{})
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("q")})
		now, err := r.KVClient.Range(r.ctx, all())
		if err != nil {
			r.Fatal(err)
		}
		r.KVClient.Compact(r.ctx, &pb.CompactionRequest{Revision: now.Header.Revision, Physical: true})
		r.defragment()
		alarms, err := r.Alarm(r.ctx, &pb.AlarmRequest{})
		if err != nil {
			r.Fatal(err)
		}
		for _, alarm := range alarms.Alarms {
			r.Alarm(r.ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: alarm.MemberID, Alarm: alarm.Alarm})
		}
		_, err = r.KVClient.Put(r.ctx, &pb.PutRequest{Key: key("room"), Value: key("1")})
		r.transcript.lines = r.transcript.lines[:0]
		r.note("put after: %s", errorText(err))
		alarms, err = r.MaintenanceClient.Alarm(r.ctx, &pb.AlarmRequest{})
		r.transcript.lines = r.transcript.lines[:1]
		r.note("alarms after: %d, %s", len(alarms.GetAlarms()), errorText(err))
	}},
}
