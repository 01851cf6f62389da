// Package coordd is a member of a cluster, as a library: Start wires the parts
// together, Stop takes them apart again in the opposite order.
package coordd

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/coordd/coordd/coordd/expire"
	"github.com/coordd/coordd/coordd/peer"
	"github.com/coordd/coordd/coordd/quota"
	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/coordd/rpc"
	"github.com/coordd/coordd/coordd/token"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
	"google.golang.org/grpc"
)

const (
	// catchUpBytes of log are kept at most for followers that lag; etcd
	// counts entries alone, but one of ours may hold a thousand requests.
	catchUpBytes = 64 << 20
	// stopTimeout bounds how long requests under way may hold up Stop.
	stopTimeout = 2 * time.Second
	// snapshotTimeout is how long a member that is sent a store may take for a
	// chunk of it, or to say what it holds.
	snapshotTimeout = 30 * time.Second
)

// Server is a running member. Its methods may be called concurrently.
type Server struct {
	cfg Config
	log *slog.Logger

	listeners *listeners
	security  security
	storage   *storage
	transport *peer.Transport
	node      *raftnode.Node
	quota     *quota.Quota
	peers     *grpc.Server
	clients   *clients
	tokens    token.Provider

	ready  chan struct{}
	failed chan struct{}
	err    error // set before failed is closed
	fail   sync.Once
	refuse sync.Once

	ctx     context.Context // ends with Stop
	stop    context.CancelFunc
	running sync.WaitGroup
}

// Start runs a member until Stop. It fails with ErrConfig, where a port or the
// data directory is in use, or where the data are damaged. It returns before
// the member has found its cluster: see Ready.
func Start(cfg Config, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, log: log, ctx: ctx, stop: cancel,
		ready: make(chan struct{}), failed: make(chan struct{}),
	}
	if err := s.start(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) start() (err error) {
	if s.listeners, err = listen(&s.cfg); err != nil {
		return err
	}
	s.log.Info("member", "name", s.cfg.Name, "data-dir", s.cfg.dataDir(), "client-tls", s.cfg.ClientTLS.String(), "peer-tls", s.cfg.PeerTLS.String(),
		"listen-client-urls", s.ClientURLs(), "listen-peer-urls", s.cfg.ListenPeerURLs)
	if s.security, err = openTLS(&s.cfg, s.log); err != nil {
		return err
	}
	if s.storage, err = openStorage(&s.cfg, s.security.peer.Client); err != nil {
		return err
	}
	if s.cfg.ForceNewCluster {
		s.log.Warn("this member goes on alone as told: leave --force-new-cluster out from now on, and add other members anew")
	}
	if err := s.openTokens(); err != nil {
		return err
	}
	if torn := s.storage.recovered.TornBytes; torn > 0 {
		s.log.Warn("the log ended in a write that was never acknowledged; it was cut off", "bytes", torn)
	}
	s.transport = peer.New(peer.Config{
		ClusterID:         s.storage.clusterID,
		MemberID:          s.storage.memberID,
		Logger:            s.log,
		TLS:               s.security.peer.Client,
		URLs:              s.peerURLs,
		OpenSnapshot:      s.openSnapshot,
		SnapshotTimeout:   snapshotTimeout,
		ReportUnreachable: func(id uint64) { s.node.ReportUnreachable(id) },
		ReportSnapshot:    func(id uint64, ok bool) { s.node.ReportSnapshot(id, ok) },
		Removed:           s.refused,
	})
	if err := s.startNode(); err != nil {
		return err
	}
	expirer := &expire.Driver{Node: s.node, Leases: s.storage.store.Leases(), Now: time.Now, Logger: s.log}
	s.running.Go(func() { expirer.Run(s.ctx) })
	s.startUpkeep()
	s.servePeers()
	if err := s.serveClients(); err != nil {
		return err
	}
	s.running.Go(s.followMembers)
	s.running.Go(s.publish)
	return nil
}

func (s *Server) startNode() (err error) {
	tick := s.cfg.HeartbeatInterval
	s.node, err = raftnode.Start(raftnode.Config{
		ID:              s.storage.memberID,
		Tick:            tick,
		HeartbeatTicks:  1,
		ElectionTicks:   int(s.cfg.ElectionTimeout / tick),
		PreVote:         s.cfg.PreVote,
		RequestTimeout:  requestTimeout(&s.cfg),
		CatchUpBytes:    catchUpBytes,
		CatchUpEntries:  s.cfg.SnapshotCatchupEntries,
		CompactLimit:    s.cfg.CompactionBatchLimit,
		Log:             s.storage.log,
		Recovered:       s.storage.recovered,
		StateMachine:    s.storage.store,
		Transport:       s.transport,
		InstallSnapshot: s.storage.install,
		Fatal:           s.failWith,
		Logger:          s.log,
	})
	return err
}

// requestTimeout is etcd's: 5 s to get through a queue and two elections.
func requestTimeout(cfg *Config) time.Duration { return 5*time.Second + 2*cfg.ElectionTimeout }

func (s *Server) servePeers() {
	leases := rpc.LeaderLeases{Node: s.node, Table: s.storage.store.Leases(), Now: time.Now}
	reconfiguration := rpc.Reconfiguration{
		Node: s.node, Store: s.storage.store, Self: s.storage.memberID,
		Strict: s.cfg.StrictReconfigCheck, ActiveSince: s.transport.ActiveSince, Now: time.Now,
	}
	// A store that is being received must not touch the directory after Stop.
	s.peers = grpc.NewServer(append(peer.ServerOptions(), grpc.WaitForHandlers(true))...)
	coordpb.RegisterPeerServer(s.peers, peer.NewServer(peer.ServerConfig{
		ClusterID:       s.storage.clusterID,
		MemberID:        s.storage.memberID,
		Logger:          s.log,
		Step:            s.node.Step,
		Called:          s.calledBy,
		Snapshots:       s.storage.snaps,
		StepSnapshot:    s.stepSnapshot,
		Held:            s.held,
		HasRun:          s.hasRun,
		Members:         s.storage.store.Members,
		Removed:         s.storage.store.Removed,
		MemberPromote:   reconfiguration.PromoteForPeer,
		LeaseRenew:      leases.Renew,
		LeaseTimeToLive: leases.TimeToLive,
		HashKV:          s.hashKV,
	}))
	for _, l := range s.listeners.peers {
		splitter := s.split(l, s.security.peer, nil)
		s.run(splitter.Run)
		s.run(func() error { return s.peers.Serve(splitter.GRPC()) })
	}
}

// hasRun says whether a member was ever ready: it has published itself then.
func (s *Server) hasRun(id uint64) bool {
	return slices.ContainsFunc(s.storage.store.Members(), func(m *coordpb.Member) bool {
		return m.Id == id && len(m.ClientUrls) > 0
	})
}

// publishRetryInterval is how soon a member that could not reach its cluster tries again.
const publishRetryInterval = 100 * time.Millisecond

// publish makes the member known to its cluster. It is ready once that went
// through: then it has a leader and has caught up with it, and the epoch is raised
// if it was due.
func (s *Server) publish() {
	for {
		err := s.publishOnce()
		if err == nil {
			close(s.ready)
			return
		}
		if s.ctx.Err() != nil || errors.Is(err, raftnode.ErrStopped) {
			return
		}
		s.log.Warn("the cluster is not reached yet", "error", err)
		select {
		case <-time.After(publishRetryInterval):
		case <-s.ctx.Done():
			return
		}
	}
}

// publishOnce records in the store where clients reach this member. Where that
// stands already, a read index is the proof that the cluster is there.
func (s *Server) publishOnce() error {
	if s.storage.store.EpochDue() {
		if err := rpc.RaiseEpoch(s.ctx, s.node, s.storage.store, time.Now); err != nil {
			return err
		}
		s.log.Info("the epoch of fencing tokens was raised, since revisions may have gone back", "key", kvcore.EpochKey)
	}
	want := &coordpb.MemberPublishRequest{Id: s.storage.memberID, Name: s.cfg.Name, ClientUrls: s.advertised()}
	if s.published(want) {
		return s.node.ReadIndex(s.ctx)
	}
	_, err := s.node.Propose(s.ctx, want)
	return err
}

// published says whether this member's record is already as it should be.
func (s *Server) published(want *coordpb.MemberPublishRequest) bool {
	return slices.ContainsFunc(s.storage.store.Members(), func(m *coordpb.Member) bool {
		return m.Id == want.Id && m.Name == want.Name && slices.Equal(m.ClientUrls, want.ClientUrls)
	})
}

// advertised is AdvertiseClientURLs, with the port that the system chose where
// the member listens on port 0 of that address.
func (s *Server) advertised() []string {
	urls := slices.Clone(s.cfg.AdvertiseClientURLs)
	for i, u := range urls {
		if at := slices.Index(s.cfg.ListenClientURLs, u); at >= 0 {
			urls[i] = s.ClientURLs()[at]
		}
	}
	return urls
}

// ClientURLs returns where the member serves clients.
func (s *Server) ClientURLs() []string { return slices.Clone(s.listeners.clientURLs) }

// Ready is closed once the member serves clients with its cluster behind it.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Failed is closed when the member cannot go on; Err says why. Stop it then.
func (s *Server) Failed() <-chan struct{} { return s.failed }

// Err is why the member failed; nil before Failed is closed.
func (s *Server) Err() error {
	select {
	case <-s.failed:
		return s.err
	default:
		return nil
	}
}

func (s *Server) failWith(err error) {
	s.fail.Do(func() {
		s.err = err
		close(s.failed)
	})
}

// Stop moves leadership to another member, if this one leads, ends the member and
// returns when nothing of it is left: what was acknowledged is durable before, what
// was not applied is replayed at the next start. The store of a member that was
// stopped in order is complete: a copy of it is a backup.
func (s *Server) Stop() {
	s.handOver()
	s.stop()
	if s.Err() != nil && s.node != nil {
		s.node.Retire() // nothing will answer the requests under way
	}
	if s.clients != nil {
		s.clients.stop(stopTimeout)
	}
	if s.peers != nil {
		s.peers.Stop()
	}
	if s.node != nil {
		s.node.Stop()
		s.completeStore()
	}
	if s.transport != nil {
		s.transport.Stop()
	}
	s.running.Wait()
	if s.storage != nil {
		if err := s.storage.close(); err != nil {
			s.log.Warn("closing the data", "error", err)
		}
	}
	if s.listeners != nil {
		s.listeners.close()
	}
}

// Alive returns once the member's replication has turned and its disk has
// finished the writes before: it fails where ctx ends first. That the rest of
// the cluster is there, it does not say; see Ready.
func (s *Server) Alive(ctx context.Context) error { return s.node.Alive(ctx) }

// completeStore moves to the store what was applied since the last checkpoint.
func (s *Server) completeStore() {
	if s.Err() != nil {
		return // the disk may have failed, and a later write must not seem to mend it
	}
	if _, err := s.storage.store.Flush(); err != nil {
		s.log.Warn("the store lags behind the log; the next start makes up for it", "error", err)
	}
}
