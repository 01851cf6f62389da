package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/tlsconfig/certtest"
	"github.com/coordd/coordd/e2e/cluster"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// ctl runs etcdctl and returns what it printed on both outputs.
func ctl(t *testing.T, endpoints string, args ...string) (string, error) {
	t.Helper()
	out, err := etcdctl(t, within(t, time.Minute), endpoints, args...).CombinedOutput()
	return string(out), err
}

// newTLSClient connects with TLS until the test ends.
func newTLSClient(t *testing.T, config *tls.Config, endpoints ...string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, TLS: config, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func clientTLS(t *testing.T, authority string, pair certtest.Pair) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(read(t, authority))
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}
}

// TestMutualTLS: three members that show each other certificates, and clients
// that must. Then all certificates and their authority are replaced.
func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ca := certtest.NewAuthority(t, dir, "ca")
	server := ca.Issue(t, dir, "server", "server", nil)
	client := ca.Issue(t, dir, "client", "someone", nil)
	stranger := certtest.NewAuthority(t, dir, "other").Issue(t, dir, "stranger", "someone", nil)
	c := startSpec(t, cluster.Spec{Size: 3, ClientScheme: "https", PeerScheme: "https", Flags: []string{
		"--cert-file", server.CertFile, "--key-file", server.KeyFile, "--trusted-ca-file", ca.File, "--client-cert-auth",
		"--peer-cert-file", server.CertFile, "--peer-key-file", server.KeyFile, "--peer-trusted-ca-file", ca.File,
		"--peer-client-cert-auth", "--peer-cert-allowed-cn", "server",
	}})
	endpoints := strings.Join(c.Endpoints(), ",")
	with := func(p certtest.Pair) []string {
		return []string{"--cacert", ca.File, "--cert", p.CertFile, "--key", p.KeyFile, "--command-timeout", "10s"}
	}
	if out, err := ctl(t, endpoints, append(with(client), "put", "key", "value")...); err != nil {
		t.Fatalf("put: %v: %s", err, out)
	}
	if out, err := ctl(t, endpoints, append(with(client), "get", "key", "--print-value-only")...); err != nil || out != "value\n" {
		t.Fatalf("get: %v: %s", err, out)
	}
	refused := append(with(stranger), "--command-timeout", "1s", "get", "key")
	if out, err := ctl(t, endpoints, refused...); err == nil || strings.Contains(out, "value") {
		t.Errorf("a client of another authority: %v: %s", err, out)
	}
	if out, err := ctl(t, endpoints, "--cacert", ca.File, "--command-timeout", "1s", "get", "key"); err == nil || strings.Contains(out, "value") {
		t.Errorf("a client without a certificate: %v: %s", err, out)
	}
	speaksHTTP1(t, c.Members[0].ClientURL, clientTLS(t, ca.File, client))

	replaceAuthority(t, c, dir, ca, client)
}

// replaceAuthority goes the way that the manual shows: trust both, change the
// certificates, trust the new one alone. After each step a member is started
// again, so that it connects to all the others.
func replaceAuthority(t *testing.T, c *cluster.Cluster, dir string, ca *certtest.Authority, client certtest.Pair) {
	ctx := within(t, time.Minute)
	next := certtest.NewAuthority(t, dir, "next")
	oldPEM, newPEM := read(t, ca.File), read(t, next.File)
	before := clientTLS(t, ca.File, client)
	for i, step := range []func(){
		func() { write(t, ca.File, append(oldPEM, newPEM...)) },
		func() { next.Issue(t, dir, "server", "server", nil); next.Issue(t, dir, "client", "someone", nil) },
		func() { write(t, ca.File, newPEM) },
	} {
		step()
		m := c.Members[i]
		m.Kill()
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		if err := m.AwaitReady(ctx); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		for _, endpoint := range c.Endpoints() {
			if _, err := newTLSClient(t, clientTLS(t, ca.File, client), endpoint).Put(ctx, "key", "value"); err != nil {
				t.Errorf("step %d: put at %s: %v", i, endpoint, err)
			}
		}
	}
	before.RootCAs.AppendCertsFromPEM(newPEM)
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := newTLSClient(t, before, c.Endpoints()...).Put(short, "key", "value"); err == nil {
		t.Error("a certificate of the authority that is no longer trusted is accepted")
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// speaksHTTP1 checks that a client that would speak HTTP/2 as well gets HTTP/1 on gRPC's port.
func speaksHTTP1(t *testing.T, url string, config *tls.Config) {
	t.Helper()
	config.NextProtos = []string{"h2", "http/1.1"}
	web := http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	defer web.CloseIdleConnections()
	response, err := web.Get(url + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var version struct{ Etcdserver string }
	if err := json.NewDecoder(response.Body).Decode(&version); err != nil || response.ProtoMajor != 1 || version.Etcdserver == "" {
		t.Errorf("%s: %s, %v, %v", url, response.Proto, version, err)
	}
}

// TestAutoTLS: certificates that the members make themselves, which nobody can check.
func TestAutoTLS(t *testing.T) {
	c := startSpec(t, cluster.Spec{Size: 3, ClientScheme: "https", PeerScheme: "https", Flags: []string{"--auto-tls", "--peer-auto-tls"}})
	endpoints := strings.Join(c.Endpoints(), ",")
	if out, err := ctl(t, endpoints, "--insecure-transport=false", "--insecure-skip-tls-verify", "put", "key", "value"); err != nil {
		t.Errorf("put: %v: %s", err, out)
	}
	// Who trusts the certificate itself can check it.
	trusted := "--cacert=" + filepath.Join(c.Members[0].DataDir, "fixtures", "client", "cert.pem")
	if out, err := ctl(t, c.Members[0].ClientURL, trusted, "get", "key", "--print-value-only"); err != nil || out != "value\n" {
		t.Errorf("get: %v: %s", err, out)
	}
}

// TestLocalSockets: clients on sockets, with and without TLS, after a kill too.
func TestLocalSockets(t *testing.T) {
	dir, err := os.MkdirTemp("", "sockets") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ca := certtest.NewAuthority(t, dir, "ca")
	server := ca.Issue(t, dir, "server", "server", nil)
	plain, secure := "unix://"+filepath.Join(dir, "plain"), "unixs://"+filepath.Join(dir, "localhost") // etcd's client takes the file's name for the server's
	c := startSpec(t, cluster.Spec{Size: 1, Flags: []string{
		"--listen-client-urls", plain + "," + secure, "--advertise-client-urls", plain,
		"--cert-file", server.CertFile, "--key-file", server.KeyFile,
	}})
	c.Members[0].Kill()
	if err := c.Members[0].Start(); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 30*time.Second)
	if err := c.Members[0].AwaitReady(ctx); err != nil {
		t.Fatalf("with sockets that a killed member has left: %v", err)
	}
	if out, err := ctl(t, plain, "put", "key", "value"); err != nil {
		t.Errorf("put: %v: %s", err, out)
	}
	if out, err := ctl(t, secure, "--cacert="+ca.File, "get", "key", "--print-value-only"); err != nil || out != "value\n" {
		t.Errorf("get: %v: %s", err, out)
	}
	web := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "plain"))
	}}}
	defer web.CloseIdleConnections()
	response, err := web.Get("http://member/health")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("health: %s: %s, %v", response.Status, body, err)
	}
}
