package rpc

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/expire"
	"github.com/coordd/coordd/coordd/quota"
	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/coordd/wal"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	testMember  = 0xab
	testCluster = 0xcd
)

// rig is one member, its log on disk and its store in memory, served on loopback.
type rig struct {
	node   *raftnode.Node
	store  *kvcore.Store
	server *Server
	conn   *grpc.ClientConn
	client *clientv3.Client
}

type nowhere struct{}

func (nowhere) Send([]*raftpb.Message) {}

// newRig starts a cluster of which this member and some others that do not exist
// are the voters. With others it has no leader.
func newRig(t testing.TB, change func(*Config), others ...uint64) *rig {
	t.Helper()
	r := &rig{}
	r.startNode(t, append(others, testMember))
	if len(others) == 0 {
		if err := r.node.ReadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{
		Node:                 r.node,
		Store:                r.store,
		ClusterID:            testCluster,
		MemberID:             testMember,
		MaxRequestBytes:      1536 << 10,
		MaxTxnOps:            128,
		MaxConcurrentStreams: 1000,
		ElectionTimeout:      50 * time.Millisecond,
		RequestTimeout:       5 * time.Second,
		ProgressInterval:     10 * time.Minute,
		MinLeaseTTLSeconds:   2,
		BcryptCost:           bcrypt.MinCost,
		Now:                  time.Now,
		Defragment:           r.store.Defragment,
		Logger:               slog.New(slog.DiscardHandler),
	}
	cfg.Tokens = simpleTokens(t, r.store)
	cfg.Quota = &quota.Quota{Bytes: quota.DefaultBytes, Member: testMember, Store: r.store, Node: r.node, Logger: cfg.Logger}
	if change != nil {
		change(&cfg)
	}
	r.serve(t, cfg)
	r.dial(t)
	return r
}

func (r *rig) startNode(t testing.TB, voters []uint64) {
	t.Helper()
	var err error
	if r.store, err = kvcore.Open(backend.NewMemory(), kvcore.Defaults()); err != nil {
		t.Fatal(err)
	}
	members := []*coordpb.Member{{Id: testMember, Name: "m", PeerUrls: []string{"http://127.0.0.1:1"}, ClientUrls: []string{"http://127.0.0.1:2"}}}
	if err := r.store.Bootstrap(1, 1, &raftpb.ConfState{Voters: voters}, members); err != nil {
		t.Fatal(err)
	}
	fs := disk.OS()
	dir, first := filepath.Join(t.TempDir(), "wal"), wal.Position{Index: 1, Term: 1}
	log, err := wal.Create(fs, dir, nil, first, &raftpb.HardState{Term: &first.Term, Vote: new(uint64), Commit: &first.Index})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	log, recovered, err := wal.Open(fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	r.node, err = raftnode.Start(raftnode.Config{
		ID:              testMember,
		Tick:            10 * time.Millisecond,
		HeartbeatTicks:  1,
		ElectionTicks:   10,
		PreVote:         true,
		RequestTimeout:  5 * time.Second,
		CatchUpBytes:    1 << 20,
		CatchUpEntries:  1000,
		CompactLimit:    1000,
		Log:             log,
		Recovered:       recovered,
		StateMachine:    r.store,
		Transport:       nowhere{},
		InstallSnapshot: func(*raftpb.SnapshotMetadata) error { panic("a snapshot for a lone member") },
		Fatal:           func(err error) { t.Errorf("the member failed: %v", err) },
		Logger:          slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.node.Stop()
		log.Close()
		r.store.Close()
	})
}

func (r *rig) serve(t testing.TB, cfg Config) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.server = New(cfg)
	driver := expire.Driver{Node: r.node, Leases: r.store.Leases(), Now: cfg.Now, Logger: cfg.Logger}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { driver.Run(ctx) })
	running.Go(func() {
		if err := r.server.Serve(l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		r.server.Stop(0)
		cancel()
		running.Wait()
	})
	r.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) dial(t testing.TB) {
	t.Helper()
	var err error
	r.client, err = clientv3.New(clientv3.Config{Endpoints: []string{r.conn.Target()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.client.Close()
		r.conn.Close()
	})
}

func (r *rig) put(t *testing.T, key, value string) (revision int64) {
	t.Helper()
	response, err := r.client.Put(t.Context(), key, value)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return response.Header.Revision
}

// watch opens a stream on which a test speaks the wire's own messages.
func (r *rig) watch(t *testing.T) *stream {
	t.Helper()
	s, err := pb.NewWatchClient(r.conn).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &stream{t, s}
}

type stream struct {
	t *testing.T
	pb.Watch_WatchClient
}

func (s *stream) create(r *pb.WatchCreateRequest) {
	s.t.Helper()
	s.request(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

func (s *stream) cancel(id int64) {
	s.t.Helper()
	s.request(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (s *stream) progress() {
	s.t.Helper()
	s.request(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

func (s *stream) request(r *pb.WatchRequest) {
	s.t.Helper()
	if err := s.Send(r); err != nil && err != io.EOF {
		s.t.Fatal(err)
	}
}

// next returns the stream's next response, whose header must be complete.
func (s *stream) next() *pb.WatchResponse {
	s.t.Helper()
	r, err := s.Recv()
	if err != nil {
		s.t.Fatalf("watch stream: %v", err)
	}
	if r.CompactRevision > 0 && r.Canceled { // as in etcd, its header has no revision
		r.Header.Revision = r.CompactRevision
	}
	checkHeader(s.t, r.Header)
	return r
}

func checkHeader(t *testing.T, h *pb.ResponseHeader) {
	t.Helper()
	if h.GetClusterId() != testCluster || h.GetMemberId() != testMember || h.GetRaftTerm() == 0 || h.GetRevision() == 0 {
		t.Fatalf("response header %v is not complete", h)
	}
}
