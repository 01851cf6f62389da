package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/cmd/environment"
	"github.com/coordd/coordd/coordd"
	"github.com/spf13/pflag"
)

// parse returns the configuration that flags and environment give.
func parse(t *testing.T, env []string, args ...string) (coordd.Config, error) {
	t.Helper()
	cfg := coordd.Defaults()
	f := pflag.NewFlagSet("coordd", pflag.ContinueOnError)
	bindFlags(f, &cfg)
	bindUnserved(f)
	if err := f.Parse(doubleDashes(args, f)); err != nil {
		return cfg, err
	}
	_, err := environment.Set(f, "COORDD_", env)
	return cfg, err
}

func TestFlagsAsEtcdTakesThem(t *testing.T) {
	cfg, err := parse(t,
		[]string{"COORDD_NAME=from-env", "COORDD_MAX_TXN_OPS=7"},
		"--name=first", "--name", "last",
		"--listen-client-urls", "http://127.0.0.1:1, http://127.0.0.1:2",
		"--heartbeat-interval=50", "--election-timeout", "500",
		"--initial-cluster-state", "existing", "-pre-vote=false", "-max-wals", "5", "--snapshot-count=7",
		"--unsafe-no-fsync=false", "--auth-token-ttl", "7", "--quota-backend-bytes", "-1", "--discovery=", "-force-new-cluster")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Name != "last" {
		t.Errorf("name %q: the last flag counts, before the environment", cfg.Name)
	}
	if cfg.InitialClusterState != "existing" || cfg.PreVote || !cfg.ForceNewCluster || cfg.AuthTokenTTL != 7*time.Second || cfg.QuotaBackendBytes != -1 {
		t.Errorf("read as %+v", cfg)
	}
	if cfg.MaxTxnOps != 7 {
		t.Errorf("max-txn-ops %d, want the environment's 7", cfg.MaxTxnOps)
	}
	if want := []string{"http://127.0.0.1:1", "http://127.0.0.1:2"}; !slices.Equal(cfg.ListenClientURLs, want) {
		t.Errorf("listen-client-urls %q, want %q", cfg.ListenClientURLs, want)
	}
	if cfg.HeartbeatInterval != 50*time.Millisecond || cfg.ElectionTimeout != 500*time.Millisecond {
		t.Errorf("heartbeat %s, election %s: want milliseconds", cfg.HeartbeatInterval, cfg.ElectionTimeout)
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--heartbeat-interval", "soon"},
		{"--max-txn-ops", "many"},
		{"--unsafe-no-fsync"},
		{"--discovery-srv", "example.com"},
		{"--enable-grpc-gateway=false"},
		{"--no-such-flag"},
	} {
		if _, err := parse(t, nil, args...); err == nil {
			t.Errorf("%s: no error", strings.Join(args, " "))
		}
	}
	if _, err := parse(t, []string{"COORDD_MAX_TXN_OPS=many"}); err == nil || !strings.Contains(err.Error(), "COORDD_MAX_TXN_OPS") {
		t.Errorf("a wrong environment: %v, want its name in the error", err)
	}
}

func TestSettingsAreValidated(t *testing.T) {
	defaults := coordd.Defaults()
	if err := defaults.Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	for flag, args := range map[string][]string{
		"--name":                        {"--name", "a=b"},
		"--listen-client-urls":          {"--listen-client-urls", "127.0.0.1:2379"},
		"--listen-peer-urls":            {"--listen-peer-urls", "http://host.example:2380"},
		"--advertise-client-urls":       {"--advertise-client-urls", "https://:2379"},
		"--initial-advertise-peer-urls": {"--initial-advertise-peer-urls", ""},
		"--election-timeout":            {"--heartbeat-interval", "300"},
		"--max-request-bytes":           {"--max-request-bytes", "-1"},
		"--max-txn-ops":                 {"--max-txn-ops", "0"},
		"--fleet-lock-groups":           {"--fleet-lock-groups", "workers"},
	} {
		cfg, err := parse(t, nil, args...)
		if err != nil {
			t.Errorf("%s: %v", flag, err)
		}
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v, want an error that names %s", strings.Join(args, " "), err, flag)
		}
	}
}

func TestHelpTeaches(t *testing.T) {
	var out bytes.Buffer
	cmd := newCommand(&out)
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--help"})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--initial-cluster", "COORDD_LISTEN_CLIENT_URLS", "# one member"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("--help does not mention %q", want)
		}
	}
}

// TestListenNeedsAdvertise: clients move to the advertised addresses, and the
// default ones would be wrong.
func TestListenNeedsAdvertise(t *testing.T) {
	cmd := newCommand(io.Discard)
	cmd.SetArgs([]string{"--data-dir", t.TempDir(), "--listen-client-urls", "http://127.0.0.1:0"})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "--advertise-client-urls") {
		t.Errorf("%v; want an error that names --advertise-client-urls", err)
	}
}

func TestCompletion(t *testing.T) {
	var out bytes.Buffer
	cmd := newCommand(io.Discard)
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"completion", "bash"})
	if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "complete") {
		t.Errorf("%v: %.100s", err, out.String())
	}
}
