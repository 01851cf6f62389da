package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"

	"github.com/coordd/coordd/locksmith/fleetlock"
	"github.com/coordd/coordd/locksmith/slots"
)

const (
	// maxConnections bounds the clients of serve at a time; others wait.
	maxConnections = 1024
	// headerTimeout bounds how long a client may take to send its request's header.
	headerTimeout = 10 * time.Second
	// idleTimeout is how long a connection is kept between two requests.
	idleTimeout = time.Minute
	// stopTimeout bounds how long requests under way may hold up the end of serve.
	stopTimeout    = 10 * time.Second
	maxHeaderBytes = 16 << 10
)

// door is what the flags of serve say.
type door struct {
	*session
	listen       string
	certFile     string
	keyFile      string
	clientCAFile string
	tokenFile    string
	groups       []string
}

func newServeCommand(s *session) *cobra.Command {
	d := &door{session: s}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve FleetLock v1, of Zincati, over the slots of the store",
		Long: `serve lets Zincati, fleetlockctl and whatever else speaks FleetLock v1 take reboot slots
in the store, be it coordd or etcd. Where the store is coordd, its --fleet-lock does the
same without this program.

The base URL is that of the listener: http://127.0.0.1:3333/ unless -listen says
otherwise. Beside /v1/pre-reboot and /v1/steady-state there are /healthz and /metrics.

Machines of the groups given take slots, those of others are refused. Each group has the
slots that set-max gave it. Any number of these servers may run for the same store.

The certificate, its key and the tokens are read anew when they are used, so that they
can be replaced without a restart.`,
		Example: `  locksmithctl -endpoint http://10.0.0.1:2379,http://10.0.0.2:2379 serve -listen 0.0.0.0:3333
  locksmithctl serve -groups workers,controllers -token-file /etc/locksmith/tokens \
    -tls-cert-file server.pem -tls-key-file server-key.pem`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := d.validate(); err != nil {
				return err
			}
			if err := d.serve(cmd.Context(), slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), d.logOptions()))); err != nil {
				return s.explain("serving", err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&d.listen, "listen", "127.0.0.1:3333", "address and port to serve on")
	f.StringSliceVar(&d.groups, "groups", nil, "groups that may take slots, * for any (default that of -group)")
	f.StringVar(&d.tokenFile, "token-file", "", "tokens, one a line, of which a machine must show one")
	f.StringVar(&d.certFile, "tls-cert-file", "", "PEM file of the certificate to show; serves https")
	f.StringVar(&d.keyFile, "tls-key-file", "", "PEM file of its key")
	f.StringVar(&d.clientCAFile, "client-ca-file", "", "PEM file of authorities; machines must show a certificate that one of them signed")
	return cmd
}

func (d *door) validate() error {
	switch {
	case (d.certFile == "") != (d.keyFile == ""):
		return errors.New("locksmithctl: give both -tls-cert-file and -tls-key-file, or neither")
	case d.clientCAFile != "" && d.certFile == "":
		return errors.New("locksmithctl: -client-ca-file needs -tls-cert-file and -tls-key-file")
	}
	return nil
}

func (d *door) logOptions() *slog.HandlerOptions {
	if d.debug {
		return &slog.HandlerOptions{Level: slog.LevelDebug}
	}
	return nil
}

// serve answers requests until ctx ends, and then those under way.
func (d *door) serve(ctx context.Context, log *slog.Logger) error {
	client, err := slots.NewClient(d.client)
	if err != nil {
		return err
	}
	defer client.Close()
	if len(d.groups) == 0 {
		d.groups = []string{cmp.Or(d.group, slots.DefaultGroup)}
	}
	handler, err := fleetlock.New(fleetlock.Config{
		Client: client, Groups: d.groups, TokenFile: d.tokenFile, Timeout: d.client.Timeout, Logger: log,
	})
	if err != nil {
		return err
	}
	secured, err := d.tls()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", d.listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           withMonitoring(handler),
		TLSConfig:         secured,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // of clients' mistakes
	}
	d.announce(l, log)
	return serveUntil(ctx, server, netutil.LimitListener(l, maxConnections))
}

// announce says where the door is, and who may pass.
func (d *door) announce(l net.Listener, log *slog.Logger) {
	scheme := "http"
	if d.certFile != "" {
		scheme = "https"
	}
	log.Info("serving FleetLock", "base_url", scheme+"://"+l.Addr().String()+"/", "groups", d.groups, "store", d.client.Endpoints)
	at, ok := l.Addr().(*net.TCPAddr)
	if d.tokenFile == "" && d.clientCAFile == "" && !(ok && at.IP.IsLoopback()) {
		log.Warn("whoever reaches this address may take slots: -token-file or -client-ca-file would ask who it is")
	}
}

// serveUntil serves until ctx ends, and lets the requests under way finish.
func serveUntil(ctx context.Context, server *http.Server, l net.Listener) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		stopped <- server.Shutdown(grace)
	})
	defer stop()
	var err error
	if server.TLSConfig != nil {
		err = server.ServeTLS(l, "", "")
	} else {
		err = server.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return <-stopped
	}
	return err
}

// tls is nil without a certificate.
func (d *door) tls() (*tls.Config, error) {
	if d.certFile == "" {
		return nil, nil
	}
	load := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(d.certFile, d.keyFile)
		return &pair, err
	}
	if _, err := load(nil); err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: load}
	if d.clientCAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(d.clientCAFile)
	if err != nil {
		return nil, fmt.Errorf("read authorities of clients: %w", err)
	}
	t.ClientCAs, t.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !t.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read authorities of clients: %s holds no certificate", d.clientCAFile)
	}
	return t, nil
}

// withMonitoring serves /healthz and /metrics beside the handler. It is no
// ServeMux: that would redirect the doubled slash of some clients.
func withMonitoring(h *fleetlock.Handler) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(h.Collectors()...)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := promhttp.InstrumentMetricHandler(registry, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			metrics.ServeHTTP(w, r)
		case "/healthz":
			healthz(w, r, h)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// healthz says whether the store answers.
func healthz(w http.ResponseWriter, r *http.Request, h *fleetlock.Handler) {
	if err := h.Ping(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
