package coordd

import (
	"errors"
	"log/slog"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestFleetLockSettings(t *testing.T) {
	for name, c := range map[string]struct {
		set func(*Config)
		ok  bool
	}{
		"off":                       {func(c *Config) {}, true},
		"on":                        {func(c *Config) { c.FleetLock.Enabled = true }, true},
		"groups":                    {func(c *Config) { c.FleetLock = FleetLock{Enabled: true, Groups: []string{"*"}} }, true},
		"groups of nothing":         {func(c *Config) { c.FleetLock.Groups = []string{"a"} }, false},
		"tokens of nothing":         {func(c *Config) { c.FleetLock.TokenFile = "t" }, false},
		"a user of nothing":         {func(c *Config) { c.FleetLock.User = "u" }, false},
		"a user for everybody":      {func(c *Config) { c.FleetLock = FleetLock{Enabled: true, User: "u"} }, false},
		"a user behind a token":     {func(c *Config) { c.FleetLock = FleetLock{Enabled: true, User: "u", TokenFile: "t"} }, true},
		"a user behind certificate": {func(c *Config) { c.FleetLock = FleetLock{Enabled: true, User: "u"}; c.ClientTLS.ClientCertAuth = true }, true},
	} {
		cfg := Defaults()
		c.set(&cfg)
		cfg.FleetLock.Open = openNothing
		if err := cfg.validateFleetLock(); c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want success %t", name, err, c.ok)
		}
	}
}

var errNothing = errors.New("no tokens")

func openNothing(FleetLock, *clientv3.Client, *slog.Logger) (http.Handler, []prometheus.Collector, error) {
	return nil, nil, errNothing
}

// What only the handler can tell ends the start as well.
func TestFleetLockThatCannotBeServed(t *testing.T) {
	for why, f := range map[error]FleetLock{ErrConfig: {Enabled: true}, errNothing: {Enabled: true, Open: openNothing}} {
		cfg := Defaults()
		cfg.FleetLock, cfg.DataDir = f, t.TempDir()
		cfg.ListenClientURLs = []string{"http://127.0.0.1:0"}
		cfg.ListenPeerURLs = []string{"http://127.0.0.1:0"}
		server, err := Start(cfg, slog.New(slog.DiscardHandler))
		if !errors.Is(err, ErrConfig) || !errors.Is(err, why) {
			t.Errorf("%v, want %v", err, why)
		}
		if server != nil {
			server.Stop()
		}
	}
}
