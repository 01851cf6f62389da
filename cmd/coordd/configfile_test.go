package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/cmd/environment"
	"github.com/coordd/coordd/coordd"
	"github.com/spf13/pflag"
)

// configure returns what a file, the environment and flags make together.
func configure(t *testing.T, file string, env []string, args ...string) (coordd.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "coordd.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := coordd.Defaults()
	f := pflag.NewFlagSet("coordd", pflag.ContinueOnError)
	bindFlags(f, &cfg)
	new(logFlags).bind(f)
	bindUnserved(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	if _, err := environment.Set(f, "COORDD_", env); err != nil {
		t.Fatal(err)
	}
	return cfg, readConfigFile(path, f)
}

// TestEtcdsFileIsTaken reads what stands in etcd's sample of a configuration.
func TestEtcdsFileIsTaken(t *testing.T) {
	cfg, err := configure(t, `
name: 'from-file'
data-dir: /var/lib/x
wal-dir:
snapshot-count: 10000
heartbeat-interval: 50
election-timeout: 500
quota-backend-bytes: 0
listen-peer-urls: http://localhost:2380
listen-client-urls: http://localhost:2379,http://localhost:2479
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:2380
advertise-client-urls: http://localhost:2379
discovery:
discovery-fallback: 'exit'
initial-cluster:
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'existing'
strict-reconfig-check: false
enable-pprof: true
watch-progress-notify-interval: 60000000000 # nanoseconds, as in etcd
warning-unary-request-duration: 1s
auth-token-ttl: 60
client-transport-security:
  cert-file: c.pem
  key-file: c.key
  client-cert-auth: true
  trusted-ca-file: ca.pem
  auto-tls: false
peer-transport-security:
  cert-file: p.pem
  key-file: p.key
  client-cert-auth: true
  trusted-ca-file: pca.pem
  allowed-cn: [a, b]
  allowed-hostname:
  auto-tls: false
  skip-client-san-verification: true
self-signed-cert-validity: 2
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
cipher-suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]
tls-min-version: 'TLS1.2'
socket-options:
  reuse-port: false
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if cfg.Name != "from-file" || cfg.HeartbeatInterval != 50*time.Millisecond || cfg.StrictReconfigCheck || !cfg.EnablePprof || cfg.PeerTLS.CertFile != "p.pem" {
		t.Errorf("read as %+v", cfg)
	}
}

func TestFileGoesBehindFlagsAndEnvironment(t *testing.T) {
	cfg, err := configure(t, `
name: from-file
max-txn-ops: 1
max-request-bytes: 2048
watch-progress-notify-interval: 60000000000
warning-unary-request-duration: 1s
cipher-suites: [A, B]
listen-client-urls: http://localhost:1,http://localhost:2
wal-dir:
max-snapshots: 5
unsafe-no-fsync: false
auth-token-ttl: 60
auto-compaction-retention: 1
client-transport-security:
  cert-file: c.pem
  client-cert-auth: true
  allowed-hostname: [h]
  crl-file: crl
peer-transport-security:
  trusted-ca-file: ca.pem
  allowed-cn: [a, b]
  skip-client-san-verification: true
  auto-tls: true
socket-options:
  reuse-address: true
`, []string{"COORDD_MAX_TXN_OPS=2"}, "--name", "from-flag")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Name != "from-flag" || cfg.MaxTxnOps != 2 || cfg.MaxRequestBytes != 2048 {
		t.Errorf("name %q, max-txn-ops %d, max-request-bytes %d", cfg.Name, cfg.MaxTxnOps, cfg.MaxRequestBytes)
	}
	if cfg.WatchProgressNotifyInterval != time.Minute || cfg.WarningUnaryRequestDuration != time.Second || cfg.AuthTokenTTL != time.Minute {
		t.Errorf("durations %s, %s, %s", cfg.WatchProgressNotifyInterval, cfg.WarningUnaryRequestDuration, cfg.AuthTokenTTL)
	}
	if !slices.Equal(cfg.CipherSuites, []string{"A", "B"}) || len(cfg.ListenClientURLs) != 2 || cfg.AutoCompactionRetention != "1" {
		t.Errorf("lists %q, %q; retention %q", cfg.CipherSuites, cfg.ListenClientURLs, cfg.AutoCompactionRetention)
	}
	if c := cfg.ClientTLS; c.CertFile != "c.pem" || !c.ClientCertAuth || c.CRLFile != "crl" || !slices.Equal(c.AllowedHostname, []string{"h"}) {
		t.Errorf("client TLS %+v", c)
	}
	if p := cfg.PeerTLS; p.TrustedCAFile != "ca.pem" || !p.SkipClientSANVerify || !p.Auto || !slices.Equal(p.AllowedCN, []string{"a", "b"}) {
		t.Errorf("peer TLS %+v", p)
	}
}

func TestWrongFilesAreRefused(t *testing.T) {
	for file, want := range map[string]string{
		"naem: x":                              "naem: there is no such setting",
		"client-transport-security: {cert: x}": "client-transport-security.cert: there is no such setting",
		"max-txn-ops: many":                    "max-txn-ops",
		"max-txn-ops: {a: 1}":                  "max-txn-ops: a block",
		"unsafe-no-fsync: true":                "unsafe-no-fsync: it is not served",
		"config-file: x":                       "config-file: there is no such setting",
		"name: a\nname: b":                     "name",
		"- a":                                  "must be a list of settings",
		"name: [":                              "yaml",
		"peer-transport-security: {inner: {x: true}}": "peer-transport-security.inner",
	} {
		if _, err := configure(t, file, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", file, err, want)
		}
	}
	if err := readConfigFile(filepath.Join(t.TempDir(), "none"), pflag.NewFlagSet("", pflag.ContinueOnError)); err == nil {
		t.Error("a missing file was read")
	}
}

// TestSampleFile: the file that is handed out is one that a member starts with.
func TestSampleFile(t *testing.T) {
	sample, err := os.ReadFile("../../deploy/coordd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := configure(t, string(sample), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if cfg.Name != "a" || !cfg.PeerTLS.ClientCertAuth || cfg.AutoCompactionRetention != "24h" {
		t.Errorf("not all of it counts: %+v", cfg)
	}
}
