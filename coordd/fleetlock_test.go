package coordd

import (
	"errors"
	"io"
	"log/slog"
	"testing"
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
		if err := cfg.validateFleetLock(); c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want success %t", name, err, c.ok)
		}
	}
}

// What only the file or the protocol can tell ends the start as well.
func TestFleetLockThatCannotBeServed(t *testing.T) {
	for _, f := range []FleetLock{{Enabled: true, TokenFile: "/nonexistent"}, {Enabled: true, Groups: []string{"a b"}}} {
		cfg := Defaults()
		cfg.FleetLock, cfg.DataDir = f, t.TempDir()
		cfg.ListenClientURLs = []string{"http://127.0.0.1:0"}
		cfg.ListenPeerURLs = []string{"http://127.0.0.1:0"}
		server, err := Start(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", f, err)
		}
		if server != nil {
			server.Stop()
		}
	}
}
