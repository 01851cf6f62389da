// Package rpc serves the etcd v3 gRPC API from one member: it checks requests,
// proposes writes through raftnode, reads from kvcore, and turns what they
// answer into etcd's messages, codes and texts.
package rpc

import (
	"context"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/coordd/quota"
	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/coordd/token"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
	"github.com/coordd/coordd/proto/coordv1"
	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/proto/v3lockpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const (
	// Version is the etcd release whose API is served. Clients choose by it
	// what they may use.
	Version = "3.7.3"

	// frameBytes is what a request may be larger on the wire than
	// MaxRequestBytes before gRPC itself refuses it, as in etcd. In between,
	// the client gets the error that says what is wrong.
	frameBytes = 512 << 10
	// headerBytes bounds the metadata of a call, as net/http does its headers.
	headerBytes = 1 << 20
	// leaderPatience is for how many election timeouts without a leader a
	// stream that requires one goes on: reconnecting costs more than waiting.
	leaderPatience = 3
)

// Config is what a Server is made of. Every field is needed.
type Config struct {
	Node                *raftnode.Node
	Store               *kvcore.Store
	ClusterID, MemberID uint64

	MaxRequestBytes      int           // encoded size of one request
	MaxTxnOps            int           // operations in one branch of a transaction
	MaxConcurrentStreams uint32        // of one connection
	ElectionTimeout      time.Duration // of the cluster
	RequestTimeout       time.Duration // bound of a question to the leader
	ProgressInterval     time.Duration // between progress responses of an idle watcher; up to a tenth is added at random
	MinLeaseTTLSeconds   int64         // shorter leases are granted this
	Tokens               token.Provider
	BcryptCost           int  // of new passwords
	ClientCertAuth       bool // the common name of a client's certificate is its user
	Now                  func() time.Time

	// LeaseRenew and LeaseTimeToLive ask another member, the leader, as
	// LeaderLeases answers there.
	LeaseRenew      func(ctx context.Context, member uint64, id int64) (ttlSeconds int64, err error)
	LeaseTimeToLive func(ctx context.Context, member uint64, id int64) (remainingSeconds, grantedSeconds int64, err error)

	StrictReconfigCheck bool                          // refuse changes of members that would lose the quorum
	MaxLearners         int                           // that there may be when another is added
	ActiveSince         func(member uint64) time.Time // since when it is connected; zero while it is not
	// MemberPromote asks another member, the leader, as Reconfiguration.Promote does there.
	MemberPromote func(ctx context.Context, member uint64, id uint64) ([]*coordpb.Member, error)

	SlowRequest time.Duration // unary calls that take longer are logged; 0: none
	Extensive   bool          // measure the time of every call

	// Quota bounds what clients may put into the store.
	Quota *quota.Quota
	// Defragment is the store's, without regard to who else may replace its file.
	Defragment func(ctx context.Context, progress func(done, total int64)) error

	Logger *slog.Logger
}

// Server is one member's gRPC server.
type Server struct {
	Config
	grpc    *grpc.Server
	methods methods
	traffic *traffic
	slow    slowLog
	health  *health.Server
	leaders leaderMonitor
	bcrypt  *passwords
	sound   condition // this member's data are not in doubt
	large   *largeAnswers

	coordStreams atomic.Int64 // of coord.v1 that wait or hold

	stopping context.Context
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// New returns a server that is ready to Serve. It must be stopped. Options are
// added to the server's own, as for transport credentials and keepalive.
func New(cfg Config, options ...grpc.ServerOption) *Server {
	s := &Server{
		Config: cfg, traffic: newTraffic(cfg.MaxTxnOps), health: health.NewServer(), leaders: newLeaderMonitor(), sound: newCondition(),
		large:  newLargeAnswers(),
		bcrypt: newPasswords(cfg.BcryptCost, cfg.RequestTimeout),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(append([]grpc.ServerOption{
		grpc.ChainUnaryInterceptor(s.observeUnary, s.interceptUnary),
		grpc.ChainStreamInterceptor(s.observeStream, s.interceptStream),
		grpc.ForceServerCodecV2(s.traffic),
		grpc.MaxRecvMsgSize(cfg.MaxRequestBytes + frameBytes),
		grpc.MaxHeaderListSize(headerBytes),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(cfg.MaxConcurrentStreams),
	}, options...)...)

	pb.RegisterKVServer(s.grpc, &kvServer{Server: s})
	pb.RegisterWatchServer(s.grpc, &watchServer{Server: s})
	pb.RegisterLeaseServer(s.grpc, &leaseServer{Server: s})
	pb.RegisterClusterServer(s.grpc, &clusterServer{Server: s})
	pb.RegisterMaintenanceServer(s.grpc, &maintenanceServer{Server: s})
	pb.RegisterAuthServer(s.grpc, &authServer{Server: s})
	v3lockpb.RegisterLockServer(s.grpc, &lockServer{Server: s})
	v3electionpb.RegisterElectionServer(s.grpc, &electionServer{Server: s})
	coordv1.RegisterLocksServer(s.grpc, &coordLocks{Server: s})
	coordv1.RegisterSemaphoresServer(s.grpc, &coordSemaphores{Server: s})
	coordv1.RegisterElectionsServer(s.grpc, &coordElections{Server: s})
	coordv1.RegisterHoldsServer(s.grpc, &coordHolds{Server: s})
	coordv1.RegisterBarriersServer(s.grpc, &coordBarriers{Server: s})
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	s.methods = newMethods(s.grpc, cfg.Extensive)

	s.done.Go(func() { s.leaders.run(s.stopping, cfg.Node, leaderPatience*cfg.ElectionTimeout) })
	s.done.Go(func() { s.watchAlarms(s.stopping) })
	return s
}

// Serve answers connections from the listener until Stop; then it returns nil.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Stop ends all streams with etcd's "server stopped", lets unary calls finish
// for at most grace, and then closes all connections. Serve fails from then on.
func (s *Server) Stop(grace time.Duration) {
	s.health.Shutdown()
	s.stop()
	timer := time.AfterFunc(grace, func() {
		s.Logger.Warn("calls under way at the end are cut off", "grace", grace)
		s.grpc.Stop()
	})
	defer timer.Stop()
	s.grpc.GracefulStop()
	s.done.Wait()
}

// header returns the header of a response that is about the given revision.
func (s *Server) header(revision int64) *pb.ResponseHeader {
	return s.fill(&pb.ResponseHeader{Revision: revision})
}

// fill completes a header that the store began.
func (s *Server) fill(h *pb.ResponseHeader) *pb.ResponseHeader {
	if h == nil {
		h = &pb.ResponseHeader{Revision: s.Store.Revision()}
	}
	h.ClusterId, h.MemberId, h.RaftTerm = s.ClusterID, s.MemberID, s.Node.Status().Term
	return h
}
