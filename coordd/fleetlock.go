package coordd

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// FleetLock is how reboot slots are served to clients of that protocol. The zero
// value is not at all.
type FleetLock struct {
	Enabled   bool
	Groups    []string // that may take slots, "*": any; empty: "default"
	TokenFile string   // tokens, one a line, of which a client must show one; empty: none
	User      string   // in whose name requests are made where users are on; empty: that of the client's certificate

	// Open makes the handler of these settings over a client of this member, and
	// its metrics. The program gives it: package locksmith/fleetlock stands above
	// this one, which its tests run.
	Open func(FleetLock, *clientv3.Client, *slog.Logger) (http.Handler, []prometheus.Collector, error)
}

// validateFleetLock refuses settings that would be without effect, and a user who
// would be at everybody's service.
func (c *Config) validateFleetLock() error {
	f := &c.FleetLock
	switch {
	case f.Enabled && f.Open == nil:
		return fmt.Errorf("%w: --fleet-lock: this program does not serve it", ErrConfig)
	case !f.Enabled && (len(f.Groups) > 0 || f.TokenFile != "" || f.User != ""):
		return fmt.Errorf("%w: --fleet-lock-groups, --fleet-lock-token-file and --fleet-lock-user need --fleet-lock", ErrConfig)
	case f.User != "" && f.TokenFile == "" && !c.ClientTLS.ClientCertAuth:
		return fmt.Errorf("%w: --fleet-lock-user %q would act for whoever reaches the port: give --fleet-lock-token-file or --client-cert-auth too", ErrConfig, f.User)
	}
	return nil
}

// fleetLock is the handler, nil where none is wanted. Its metrics are registered.
func (s *Server) fleetLock(registry *prometheus.Registry) (http.Handler, error) {
	if !s.cfg.FleetLock.Enabled {
		return nil, nil
	}
	h, metrics, err := s.cfg.FleetLock.Open(s.cfg.FleetLock, s.clients.rpc.InProcess(s.cfg.FleetLock.User), s.log)
	if err != nil {
		return nil, fmt.Errorf("%w: --fleet-lock: %w", ErrConfig, err)
	}
	registry.MustRegister(metrics...)
	return h, nil
}
