package coordtest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/coordd/datadir"
	"github.com/coordd/coordd/coordd/expire"
	"github.com/coordd/coordd/coordd/quota"
	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/coordd/rpc"
	"github.com/coordd/coordd/coordd/token"
	"github.com/coordd/coordd/coordd/wal"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
)

const (
	clusterID = 0xc00d
	memberID  = 0x1
	// tick is coarse, so that hours of a bubble's time are few ticks. Of what takes time on this member only the end of
	// requests that wait is counted in ticks.
	tick           = time.Second
	electionTicks  = 10
	requestTimeout = 7 * time.Second // as coordd's
)

var errPaused = errors.New("coordtest: the server is paused")

// Server is a coordd of one member that lives in this process and in memory alone. Its methods may be called concurrently.
type Server struct {
	tb      testing.TB
	network *network
	logger  *slog.Logger
	store   *kvcore.Store
	log     *wal.Log
	node    *raftnode.Node
	rpc     *rpc.Server

	ctx     context.Context // of the driver that ends leases
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Start runs a new, empty server until the test and its subtests end. It may be called in a bubble of testing/synctest
// and then lives by the bubble's clock.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{tb: tb, network: newNetwork(), logger: slog.New(slog.DiscardHandler)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.start(); err != nil {
		s.stop()
		tb.Fatalf("coordtest: start: %v", err)
	}
	tb.Cleanup(s.stop)
	return s
}

func (s *Server) start() (err error) {
	if err = s.openStore(); err != nil {
		return err
	}
	if err = s.startNode(); err != nil {
		return err
	}
	if err = s.serve(); err != nil {
		return err
	}
	driver := expire.Driver{Node: pausing{s.node, s.network}, Leases: s.store.Leases(), Now: time.Now, Logger: s.logger}
	s.running.Go(func() { driver.Run(s.ctx) })
	return s.node.ReadIndex(s.ctx)
}

func (s *Server) openStore() (err error) {
	if s.store, err = kvcore.Open(backend.NewMemory(), kvcore.Defaults()); err != nil {
		return err
	}
	first := datadir.Beginning
	members := []*coordpb.Member{{Id: memberID, Name: "coordtest", PeerUrls: []string{"http://coordtest:2380"}, ClientUrls: []string{endpoint}}}
	return s.store.Bootstrap(first.Term, first.Index, &raftpb.ConfState{Voters: []uint64{memberID}}, members)
}

func (s *Server) startNode() (err error) {
	first := datadir.Beginning
	hard := &raftpb.HardState{Term: &first.Term, Vote: new(uint64), Commit: &first.Index}
	if s.log, err = wal.Create(nowhere{}, "wal", nil, first, hard); err != nil {
		return err
	}
	s.node, err = raftnode.Start(raftnode.Config{
		ID:              memberID,
		Tick:            tick,
		HeartbeatTicks:  1,
		ElectionTicks:   electionTicks,
		PreVote:         true,
		RequestTimeout:  requestTimeout,
		CatchUpBytes:    1 << 20,
		CatchUpEntries:  1000,
		CompactLimit:    1000,
		Log:             s.log,
		Recovered:       &wal.Recovered{HardState: hard, Snapshot: first},
		StateMachine:    s.store,
		Transport:       nobody{},
		InstallSnapshot: func(*raftpb.SnapshotMetadata) error { panic("coordtest: a snapshot for a lone member") },
		Fatal:           func(err error) { s.tb.Errorf("coordtest: the server failed: %v", err) },
		Logger:          s.logger,
	})
	return err
}

// serve starts the services of a real member, each with coordd's own defaults.
func (s *Server) serve() error {
	options, err := token.Parse("simple")
	if err != nil {
		return err
	}
	tokens, err := options.Open(s.store.Tokens(), 5*time.Minute, time.Now)
	if err != nil {
		return err
	}
	s.rpc = rpc.New(rpc.Config{
		Node:                 s.node,
		Store:                s.store,
		ClusterID:            clusterID,
		MemberID:             memberID,
		MaxRequestBytes:      1536 << 10,
		MaxTxnOps:            128,
		MaxConcurrentStreams: 1 << 20,
		ElectionTimeout:      time.Second,
		RequestTimeout:       requestTimeout,
		ProgressInterval:     10 * time.Minute,
		MinLeaseTTLSeconds:   2,
		Tokens:               tokens,
		BcryptCost:           bcrypt.MinCost,
		Now:                  time.Now,
		StrictReconfigCheck:  true,
		ActiveSince:          func(uint64) time.Time { return time.Time{} },
		Quota:                &quota.Quota{Bytes: quota.DefaultBytes, Member: memberID, Store: s.store, Node: s.node, Logger: s.logger},
		Defragment:           s.store.Defragment,
		Logger:               s.logger,
	}, grpc.ChainUnaryInterceptor(dropReply))
	s.running.Go(func() {
		if err := s.rpc.Serve(s.network); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.tb.Errorf("coordtest: serve: %v", err)
		}
	})
	return nil
}

// stop ends what start has begun, as far as it came.
func (s *Server) stop() {
	if s.rpc != nil {
		s.rpc.Stop(0)
	}
	s.cancel()
	if s.node != nil {
		s.node.Stop()
	}
	s.running.Wait()
	if s.log != nil {
		s.closing("log", s.log.Close())
	}
	if s.store != nil {
		s.closing("store", s.store.Close())
	}
}

func (s *Server) closing(what string, err error) {
	if err != nil {
		s.tb.Errorf("coordtest: close the %s: %v", what, err)
	}
}

// ExpireLease ends a lease now, as if its time had run out: its keys are deleted, and those who watch them see it. Its
// holder is not told; a holder that renews it finds it gone. That there is no such lease fails the test. It works while
// the server is paused, too.
func (s *Server) ExpireLease(id clientv3.LeaseID) {
	s.tb.Helper()
	if err := s.expire(id); err != nil {
		s.tb.Errorf("coordtest: expire lease %016x: %v", int64(id), err)
	}
}

func (s *Server) expire(id clientv3.LeaseID) error {
	request := &coordpb.LeaseExpireRequest{Term: s.node.Status().Term, Ids: []int64{int64(id)}}
	response, err := s.node.Propose(s.ctx, request)
	if err != nil {
		return err
	}
	if len(response.(*coordpb.LeaseExpireResponse).Expired) == 0 {
		return rpctypes.ErrLeaseNotFound
	}
	return nil
}

// Pause stops the server, as SIGSTOP would: nothing passes on any connection, and no lease ends. The clock goes on. Leases
// that run out meanwhile end after Resume, and a renewal that waits comes too late, but perhaps for one whose last half
// second it was.
func (s *Server) Pause() { s.network.set(func() { s.network.paused = true }) }

// Resume ends a Pause. What was sent meanwhile arrives now.
func (s *Server) Resume() { s.network.set(func() { s.network.paused = false }) }

// pausing is the node as the driver that ends leases has it: what it proposes in a pause fails, and it tries again.
type pausing struct {
	expire.Node
	network *network
}

func (p pausing) Propose(ctx context.Context, r proto.Message) (proto.Message, error) {
	p.network.mu.Lock()
	paused := p.network.paused
	p.network.mu.Unlock()
	if paused {
		return nil, errPaused
	}
	return p.Node.Propose(ctx, r)
}

// nobody is where a lone member's messages to others go.
type nobody struct{}

func (nobody) Send([]*raftpb.Message) {}
