package rpc

import (
	"context"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// interceptUnary refuses what this member may not answer now and gives every
// error its wire form.
func (s *Server) interceptUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	status := s.Node.Status()
	if status.Learner && !servedByLearner(req) {
		return nil, rpctypes.ErrGRPCNotSupportedForLearner
	}
	if status.Leader == 0 && requiresLeader(ctx) {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	if err := s.permitCall(ctx, info.FullMethod, req); err != nil {
		return nil, wireError(err)
	}
	if s.Store.Corrupt(s.MemberID) && servesData(info.FullMethod) {
		return nil, rpctypes.ErrGRPCCorrupt
	}
	response, err := s.large.answer(ctx, req, handler)
	if err != nil {
		return nil, wireError(err)
	}
	return response, nil
}

// servedByLearner tells the calls whose answer needs no vote.
func servedByLearner(req any) bool {
	switch r := req.(type) {
	case *pb.StatusRequest:
		return true
	case *pb.RangeRequest:
		return r.GetSerializable()
	default:
		return false
	}
}

func requiresLeader(ctx context.Context) bool {
	values := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(values) > 0 && values[0] == rpctypes.MetadataHasLeader
}

// interceptStream does for streams what interceptUnary does, and ends them when
// the server stops or, if they require a leader, when there has been none for
// too long.
func (s *Server) interceptStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if s.Node.Status().Learner && info.FullMethod != pb.Maintenance_Snapshot_FullMethodName {
		return rpctypes.ErrGRPCNotSupportedForLearner
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.stopping, func() { cancel(raftnode.ErrStopped) })()
	if requiresLeader(ctx) {
		if s.Node.Status().Leader == 0 {
			return rpctypes.ErrGRPCNoLeader
		}
		defer context.AfterFunc(s.leaders.present(), func() { cancel(raftnode.ErrNoLeader) })()
	}
	if err := s.permitCall(ctx, info.FullMethod, nil); err != nil {
		return wireError(err)
	}
	if servesData(info.FullMethod) {
		defer context.AfterFunc(s.sound.present(), func() { cancel(kvcore.ErrCorrupt) })()
		if s.Store.Corrupt(s.MemberID) {
			return rpctypes.ErrGRPCCorrupt
		}
	}
	err := handler(srv, endingStream{stream, ctx})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return wireError(err)
}

// endingStream is a stream whose context ends earlier than its connection's.
type endingStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s endingStream) Context() context.Context { return s.ctx }

// receive reads a stream's messages in a goroutine of its own, which ends with
// the stream: once ctx is done or the handler has returned. messages is closed
// when the client will send no more; failed gets the error that ended reading.
func receive[M any](ctx context.Context, recv func() (M, error), isEnd func(error) bool) (messages <-chan M, failed <-chan error) {
	in, fail := make(chan M), make(chan error, 1)
	go func() {
		for {
			m, err := recv()
			switch {
			case err != nil && isEnd(err):
				close(in)
				return
			case err != nil:
				fail <- err
				return
			}
			select {
			case in <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	return in, fail
}

// leaderMonitor tells streams that no leader has been known for too long.
type leaderMonitor struct{ condition }

func newLeaderMonitor() leaderMonitor { return leaderMonitor{newCondition()} }

// run watches for a leader until ctx ends. Elections that come to nothing do
// not begin the wait anew.
func (m *leaderMonitor) run(ctx context.Context, node *raftnode.Node, patience time.Duration) {
	defer m.lose()
	var expired <-chan time.Time
	for {
		changed := node.Changed()
		switch leaderless := node.Status().Leader == 0; {
		case !leaderless:
			expired = nil
			m.found()
		case expired == nil:
			expired = time.After(patience)
		}
		select {
		case <-changed:
		case <-expired:
			m.lose()
			expired = make(chan time.Time) // lost; only a leader ends this
		case <-ctx.Done():
			return
		}
	}
}
