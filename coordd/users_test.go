package coordd

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestValidateUsers(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		wrong  string
	}{
		{func(c *Config) {}, ""},
		{func(c *Config) { c.AuthToken = "jwt,sign-method=ES256,priv-key=/keys/es256.pem,ttl=1h" }, ""},
		{func(c *Config) { c.AuthToken = "jwt" }, "--auth-token"},
		{func(c *Config) { c.AuthToken = "" }, "--auth-token"},
		{func(c *Config) { c.AuthTokenTTL = 0 }, "--auth-token-ttl"},
		{func(c *Config) { c.AuthTokenTTL = time.Second }, ""},
		{func(c *Config) { c.BcryptCost = 3 }, "--bcrypt-cost"},
		{func(c *Config) { c.BcryptCost = 32 }, "--bcrypt-cost"},
		{func(c *Config) { c.BcryptCost = 31 }, ""},
	} {
		cfg := Defaults()
		c.change(&cfg)
		err := cfg.Validate()
		if c.wrong == "" && err != nil || c.wrong != "" && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%q, %v, cost %d: %v, want %q in it", cfg.AuthToken, cfg.AuthTokenTTL, cfg.BcryptCost, err, c.wrong)
		}
	}
}

func TestStartNeedsTheKeysOfTokens(t *testing.T) {
	cfg := Defaults()
	cfg.DataDir = t.TempDir()
	for _, urls := range []*[]string{&cfg.ListenClientURLs, &cfg.ListenPeerURLs} {
		*urls = []string{"http://127.0.0.1:0"}
	}
	cfg.AuthToken = "jwt,sign-method=RS256,priv-key=" + cfg.DataDir + "/missing"
	if _, err := Start(cfg, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("%v, want the file in it", err)
	}
}
