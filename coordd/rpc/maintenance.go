package rpc

import (
	"context"
	"fmt"
	"time"

	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// maintenanceServer is etcdserverpb.Maintenance.
type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	*Server
}

func (s *maintenanceServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	total, inUse := s.Store.Size()
	node := s.Node.Status()
	response := &pb.StatusResponse{
		Header:           s.header(s.Store.Revision()),
		Version:          Version,
		DbSize:           total,
		DbSizeInUse:      inUse,
		Leader:           node.Leader,
		RaftIndex:        node.Committed,
		RaftTerm:         node.Term,
		RaftAppliedIndex: node.Applied,
		IsLearner:        node.Learner,
		StorageVersion:   kvcore.StorageVersion,
		DbSizeQuota:      s.Quota.Bytes,
		DowngradeInfo:    &pb.DowngradeInfo{},
	}
	if node.Leader == 0 {
		response.Errors = append(response.Errors, rpctypes.ErrNoLeader.Error())
	}
	for _, a := range s.Store.Alarms() {
		response.Errors = append(response.Errors, describeAlarm(a))
	}
	return response, nil
}

// describeAlarm writes an alarm as etcd does, for clients that look for it.
func describeAlarm(a *pb.AlarmMember) string {
	if a.MemberID == 0 {
		return fmt.Sprintf("alarm:%s", a.Alarm)
	}
	return fmt.Sprintf("memberID:%d alarm:%s", a.MemberID, a.Alarm)
}

func (s *maintenanceServer) HashKV(_ context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	h, err := s.Store.HashKV(r.GetRevision())
	if err != nil {
		return nil, err
	}
	return &pb.HashKVResponse{
		Header:          s.header(h.Revision),
		Hash:            h.Hash,
		CompactRevision: h.CompactRevision,
		HashRevision:    h.HashRevision,
	}, nil
}

// Hash is HashKV at the current revision: what lies beside the keys in the
// backend differs between members and would say nothing.
func (s *maintenanceServer) Hash(context.Context, *pb.HashRequest) (*pb.HashResponse, error) {
	h, err := s.Store.HashKV(0)
	if err != nil {
		return nil, err
	}
	return &pb.HashResponse{Header: s.header(h.Revision), Hash: h.Hash}, nil
}

// Alarm lists, raises or lifts alarms.
func (s *maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.GetAction() == pb.AlarmRequest_GET {
		return s.listAlarms(ctx, r.GetAlarm())
	}
	response, err := propose[*pb.AlarmResponse](ctx, s.Server, r)
	if err != nil {
		return nil, err
	}
	response.Header = s.fill(response.Header)
	return response, nil
}

// listAlarms answers with the alarms of a kind, NONE for all. Health checks ask:
// where etcd writes that to the log, a read index will do.
func (s *maintenanceServer) listAlarms(ctx context.Context, kind pb.AlarmType) (*pb.AlarmResponse, error) {
	if err := s.Node.ReadIndex(ctx); err != nil {
		return nil, err
	}
	response := &pb.AlarmResponse{Header: s.header(s.Store.Revision())}
	for _, a := range s.Store.Alarms() {
		if kind == pb.AlarmType_NONE || kind == a.Alarm {
			response.Alarms = append(response.Alarms, a)
		}
	}
	return response, nil
}

// Defragment returns once this member's store takes no more than it needs.
func (s *maintenanceServer) Defragment(ctx context.Context, _ *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	ctx, cancel := s.outlastDeadline(ctx)
	defer cancel()
	if err := s.awaitCompaction(ctx, s.Store.CompactRevision()); err != nil {
		return nil, err
	}
	before, inUse := s.Store.Size()
	began := s.Now()
	s.Logger.Info("defragmenting the store", "bytes", before, "in_use_bytes", inUse)
	if err := s.Config.Defragment(ctx, s.logProgress("defragmenting the store")); err != nil {
		s.Logger.Warn("the store was not defragmented, and is as before", "error", err)
		return nil, err
	}
	after, _ := s.Store.Size()
	s.Logger.Info("defragmented the store", "bytes", after, "bytes_before", before, "took", s.Now().Sub(began))
	return &pb.DefragmentResponse{Header: s.header(s.Store.Revision())}, nil
}

// deadlineSlack is how much earlier a caller may go away than his deadline is
// here, and still count as one who ran out of time.
const deadlineSlack = 100 * time.Millisecond

// outlastDeadline returns a context that ends with the server, or when the caller
// goes away, but not because he ran out of time: as in etcd, what was begun is
// finished though etcdctl, unless told otherwise, waits no more than 5 seconds.
func (s *Server) outlastDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	outlasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stopWithServer := context.AfterFunc(s.stopping, cancel)
	stopWithCaller := context.AfterFunc(ctx, func() {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > deadlineSlack {
			cancel()
		}
	})
	return outlasting, func() {
		stopWithCaller()
		stopWithServer()
		cancel()
	}
}

// logProgress returns a function that logs each tenth of the way.
func (s *maintenanceServer) logProgress(what string) func(done, total int64) {
	tenths := int64(0)
	return func(done, total int64) {
		if now := 10 * done / max(total, 1); now > tenths {
			tenths = now
			s.Logger.Info(what, "done_bytes", done, "total_bytes", total)
		}
	}
}
