package peer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/coordd/snap"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
)

// ServerConfig is what a Server needs. Every field is required.
type ServerConfig struct {
	ClusterID uint64
	MemberID  uint64 // this member
	Logger    *slog.Logger
	// Step gives raft a message; it may block to slow the sender down. An error ends
	// the stream, and the sender opens another: return nil for a message that raft merely ignores.
	Step func(ctx context.Context, m *raftpb.Message) error
	// Called is told of each member that opens a stream of messages, with the URLs
	// that it gives.
	Called func(from uint64, urls []string)
	// Snapshots is where received stores go. StepSnapshot gives raft the MsgSnap of one
	// that is durable there, and says whether raft wants it. One that it does not want is removed.
	Snapshots    *snap.Dir
	StepSnapshot func(ctx context.Context, m *raftpb.Message) (wanted bool, err error)
	// Held says what this member's store holds durably.
	Held func() (kvcore.Held, error)
	// HasRun says whether a member has run in this cluster before.
	HasRun func(id uint64) bool
	// Members are all there are, and Removed knows those that were.
	Members func() []*coordpb.Member
	Removed func(id uint64) bool
	// MemberPromote answers for this member as the leader, as the Transport's
	// method says; errors are as of LeaseRenew.
	MemberPromote func(ctx context.Context, id uint64) ([]*coordpb.Member, error)
	// LeaseRenew and LeaseTimeToLive answer for this member as the leader, as the
	// Transport's methods of these names say. An error that is not a gRPC status is sent as Unavailable.
	LeaseRenew      func(ctx context.Context, id int64) (ttlSeconds int64, err error)
	LeaseTimeToLive func(ctx context.Context, id int64) (remainingSeconds, grantedSeconds int64, err error)
	// HashKV sums this member's revision log up to a revision, for which it waits. An
	// error that is not a gRPC status is sent as Unavailable.
	HashKV func(ctx context.Context, revision int64) (kvcore.Hash, error)
}

// Server answers the other members' Transports. Register it with
// coordpb.RegisterPeerServer at a gRPC server made with [ServerOptions]; it has no goroutines of its own.
//
// It refuses with FailedPrecondition who is of another cluster or means another
// member, with PermissionDenied who was removed, and with InvalidArgument what
// no member would send.
type Server struct {
	coordpb.UnimplementedPeerServer
	config ServerConfig

	mu         sync.Mutex
	installing map[uint64]bool // members that a store is coming from

	// deciding is held from when a store gets its name until raft has said whether it
	// is wanted: what one caller's message decides must not remove another's store of the same place.
	deciding sync.Mutex
}

// NewServer makes a Server.
func NewServer(c ServerConfig) *Server {
	return &Server{config: c, installing: map[uint64]bool{}}
}

// Messages takes raft messages until the stream ends.
func (s *Server) Messages(stream grpc.ClientStreamingServer[coordpb.MessageBatch, coordpb.MessagesEnd]) error {
	ctx := stream.Context()
	from, err := s.authenticate(ctx)
	if err != nil {
		return err
	}
	if err := stream.SendHeader(nil); err != nil { // says that the caller is accepted
		return err
	}
	if urls := metadata.ValueFromIncomingContext(ctx, urlsKey); len(urls) > 0 {
		s.config.Called(from, urls)
	}
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&coordpb.MessagesEnd{})
		}
		if err != nil {
			return err
		}
		if s.config.Removed(from) {
			return errCallerRemoved
		}
		for _, data := range batch.GetMessages() {
			m, err := decodeMessage(data, from, s.config.MemberID)
			if err == nil && m.GetType() == raftpb.MsgSnap {
				err = errors.New("MsgSnap without a store")
			}
			if err != nil {
				return status.Errorf(codes.InvalidArgument, "peer: message from member %x: %v", from, err)
			}
			if err := s.config.Step(ctx, m); err != nil {
				return asStatus(err)
			}
		}
	}
}

// HasRun tells the member that asks whether it has run in this cluster before.
func (s *Server) HasRun(ctx context.Context, _ *coordpb.HasRunRequest) (*coordpb.HasRunResponse, error) {
	from, err := s.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	return &coordpb.HasRunResponse{HasRun: s.config.HasRun(from)}, nil
}

// StorePosition tells the member that asks what this one's store holds.
func (s *Server) StorePosition(ctx context.Context, _ *coordpb.StorePositionRequest) (*coordpb.StorePositionResponse, error) {
	if _, err := s.authenticate(ctx); err != nil {
		return nil, err
	}
	held, err := s.config.Held()
	if err != nil {
		return nil, asStatus(err)
	}
	return &coordpb.StorePositionResponse{Revision: held.Revision, Digest: held.Digest}, nil
}

// LeaseRenew renews a lease for the member that asks.
func (s *Server) LeaseRenew(ctx context.Context, r *coordpb.LeaseRenewRequest) (*coordpb.LeaseRenewResponse, error) {
	if _, err := s.authenticate(ctx); err != nil {
		return nil, err
	}
	ttl, err := s.config.LeaseRenew(ctx, r.GetId())
	if err != nil {
		return nil, asStatus(err)
	}
	return &coordpb.LeaseRenewResponse{TtlSeconds: ttl}, nil
}

// LeaseTimeToLive tells the member that asks how long a lease has left.
func (s *Server) LeaseTimeToLive(ctx context.Context, r *coordpb.LeaseTimeToLiveRequest) (*coordpb.LeaseTimeToLiveResponse, error) {
	if _, err := s.authenticate(ctx); err != nil {
		return nil, err
	}
	remaining, granted, err := s.config.LeaseTimeToLive(ctx, r.GetId())
	if err != nil {
		return nil, asStatus(err)
	}
	return &coordpb.LeaseTimeToLiveResponse{RemainingTtlSeconds: remaining, GrantedTtlSeconds: granted}, nil
}

// HashKV tells the member that asks the checksum of this one's revision log.
func (s *Server) HashKV(ctx context.Context, r *coordpb.HashKVRequest) (*coordpb.HashKVResponse, error) {
	if _, err := s.authenticate(ctx); err != nil {
		return nil, err
	}
	h, err := s.config.HashKV(ctx, r.GetRevision())
	if err != nil {
		return nil, asStatus(err)
	}
	return &coordpb.HashKVResponse{Hash: h.Hash, CompactRevision: h.CompactRevision}, nil
}

// asStatus lets a status through and makes any other error Unavailable: asking again may help.
func asStatus(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unavailable, err.Error())
}
