package coordd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/coordd/coordd/coordd/httpapi"
	"github.com/coordd/coordd/coordd/rpc"
	"github.com/coordd/coordd/coordd/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	// clusterVersion is the least etcd release that all members speak the API of.
	clusterVersion = "3.7.0"
	// headerTimeout bounds how long an HTTP client may take to send its request's header.
	headerTimeout = 10 * time.Second
	// idleTimeout is how long an HTTP connection is kept between two requests.
	idleTimeout = 5 * time.Minute
	// reservedFiles are the file descriptors that clients do not get: for the log,
	// the store and the other members. The number is etcd's.
	reservedFiles = 150
	// maxClients bounds the connections where the system has no bound.
	maxClients = 1 << 20
)

// clients serves gRPC and HTTP on the client ports, and what a monitor asks for
// on the metrics ports.
type clients struct {
	rpc       *rpc.Server
	http      *http.Server
	probes    *http.Server
	gateway   *gateway
	splitters []*httpapi.Splitter
}

// serveClients starts to answer clients. Until the member has found its cluster
// they get what it knows: serializable reads, and its health.
func (s *Server) serveClients() error {
	gateway, err := newGateway(s.cfg.MaxRequestBytes, rpc.MaxParts(s.cfg.MaxTxnOps))
	if err != nil {
		return err
	}
	s.clients = &clients{
		gateway: gateway,
		rpc: rpc.New(rpc.Config{
			Node:                 s.node,
			Store:                s.storage.store,
			ClusterID:            s.storage.clusterID,
			MemberID:             s.storage.memberID,
			MaxRequestBytes:      s.cfg.MaxRequestBytes,
			MaxTxnOps:            s.cfg.MaxTxnOps,
			MaxConcurrentStreams: s.cfg.MaxConcurrentStreams,
			ElectionTimeout:      s.cfg.ElectionTimeout,
			RequestTimeout:       requestTimeout(&s.cfg),
			ProgressInterval:     s.cfg.WatchProgressNotifyInterval,
			MinLeaseTTLSeconds:   minLeaseTTLSeconds(s.cfg.ElectionTimeout),
			Tokens:               s.tokens,
			BcryptCost:           s.cfg.BcryptCost,
			ClientCertAuth:       s.cfg.ClientTLS.ClientCertAuth,
			Now:                  time.Now,
			LeaseRenew:           s.transport.LeaseRenew,
			LeaseTimeToLive:      s.transport.LeaseTimeToLive,
			StrictReconfigCheck:  s.cfg.StrictReconfigCheck,
			MaxLearners:          s.cfg.MaxLearners,
			ActiveSince:          s.transport.ActiveSince,
			MemberPromote:        s.transport.MemberPromote,
			SlowRequest:          s.cfg.WarningUnaryRequestDuration,
			Extensive:            s.cfg.Metrics == "extensive",
			Quota:                s.quota,
			Defragment:           s.storage.defragment,
			Logger:               s.log,
		}, s.rpcOptions()...),
	}
	handler, err := s.handler()
	if err != nil {
		return err
	}
	s.clients.http = s.httpServer(httpapi.GuardOrigin(handler, s.cfg.CORS, s.cfg.HostWhitelist))
	s.clients.probes = s.httpServer(httpapi.ProbesOnly(handler))
	s.run(func() error { return s.clients.rpc.Serve(gateway.listener) })
	places, err := clientPlaces()
	if err != nil {
		return err
	}
	for _, l := range s.listeners.clients {
		splitter := s.split(l, s.security.client, places)
		s.clients.splitters = append(s.clients.splitters, splitter)
		s.run(splitter.Run)
		s.run(func() error { return s.clients.rpc.Serve(splitter.GRPC()) })
		s.run(func() error { return s.clients.http.Serve(splitter.HTTP()) })
	}
	for _, l := range s.listeners.metrics {
		splitter := s.split(l, s.security.client, places)
		s.clients.splitters = append(s.clients.splitters, splitter)
		s.run(splitter.Run)
		s.run(func() error { return s.clients.probes.Serve(splitter.HTTP()) })
	}
	return nil
}

// rpcOptions are what the settings say of gRPC connections. Zero leaves gRPC's own.
func (s *Server) rpcOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{grpc.Creds(tlsconfig.Handshaken())}
	if d := s.cfg.GRPCKeepAliveMinTime; d > 0 {
		options = append(options, grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: d}))
	}
	if interval, timeout := s.cfg.GRPCKeepAliveInterval, s.cfg.GRPCKeepAliveTimeout; interval > 0 && timeout > 0 {
		options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{Time: interval, Timeout: timeout}))
	}
	return options
}

func (s *Server) httpServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ConnContext:       httpapi.WithConn,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // of clients' mistakes
	}
}

// split accepts a listener's connections as its URLs say, with the certificates of source.
func (s *Server) split(l *listener, source *tlsconfig.Source, places httpapi.Places) *httpapi.Splitter {
	accepts := httpapi.Accepts{Clear: l.clear, GRPC: l.grpc, HTTP: l.http}
	if l.secure {
		accepts.TLS = source.Server(httpapi.Protocols(l.grpc, l.http)...)
	}
	return httpapi.NewSplitter(l, accepts, places, s.log)
}

// clientPlaces are for as many connections of clients as there are file
// descriptors to spare. It fails where there are too few for the member itself.
func clientPlaces() (httpapi.Places, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("coordd: ask how many files may be open: %w", err)
	}
	if limit.Cur <= reservedFiles {
		return nil, fmt.Errorf("coordd: %d files may be open at once, %d are needed beside clients' connections: raise the limit, as with ulimit -n",
			limit.Cur, reservedFiles)
	}
	return httpapi.NewPlaces(int(min(limit.Cur-reservedFiles, maxClients))), nil
}

// minLeaseTTLSeconds is etcd's: a lease must outlive an election.
func minLeaseTTLSeconds(electionTimeout time.Duration) int64 {
	return int64(math.Ceil(1.5 * electionTimeout.Seconds()))
}

// run makes the failure of what serves a listener the member's failure.
func (s *Server) run(serve func() error) {
	s.running.Go(func() {
		err := serve()
		ended := errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) || errors.Is(err, grpc.ErrServerStopped)
		if err == nil || s.ctx.Err() != nil || ended {
			return
		}
		s.failWith(err)
	})
}

// stop ends streams, lets calls under way finish for at most grace, those of HTTP
// for as long again, and closes the connections. It may be called again.
func (c *clients) stop(grace time.Duration) {
	for _, splitter := range c.splitters {
		splitter.Close() // its listener may be closed already
	}
	c.rpc.Stop(grace)
	// What has ended is still to be told to those who asked by HTTP.
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	for _, server := range []*http.Server{c.http, c.probes} {
		if server == nil { // serveClients has failed before it made them
			continue
		}
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	}
	c.gateway.close()
}
