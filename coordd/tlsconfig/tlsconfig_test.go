package tlsconfig_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/tlsconfig"
	"github.com/coordd/coordd/coordd/tlsconfig/certtest"
)

var discard = slog.New(slog.DiscardHandler)

func open(t *testing.T, c tlsconfig.Config) *tlsconfig.Source {
	t.Helper()
	if c.Logger == nil {
		c.Logger = discard
	}
	s, err := tlsconfig.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve does handshakes with the configuration until the test ends, and returns its address.
func serve(t *testing.T, config *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				if conn.(*tls.Conn).Handshake() == nil {
					io.WriteString(conn, "welcome")
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().String()
}

// shake connects and returns whose certificate the server showed. Under TLS 1.3
// the client learns only by reading whether it was accepted.
func shake(address string, config *tls.Config) (commonName string, err error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, config)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.ReadAll(conn); err != nil {
		return "", err
	}
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestCertificatesAreReplacedWhileServing(t *testing.T) {
	dir := t.TempDir()
	old := certtest.NewAuthority(t, dir, "ca")
	server := old.Issue(t, dir, "server", "first", nil)
	client := old.Issue(t, dir, "client", "someone", nil)
	source := open(t, tlsconfig.Config{CertFile: server.CertFile, KeyFile: server.KeyFile, TrustedCAFile: old.File})
	calls := open(t, tlsconfig.Config{CertFile: client.CertFile, KeyFile: client.KeyFile, TrustedCAFile: old.File})
	address := serve(t, source.Server())
	expect := func(when, want string) {
		t.Helper()
		got, err := shake(address, calls.Client("127.0.0.1"))
		if err != nil || got != want {
			t.Errorf("%s: the server shows %q, %v; want %q", when, got, err, want)
		}
	}
	expect("at first", "first")

	old.Issue(t, dir, "server", "second", nil)
	expect("after the certificate was replaced", "second")

	// Half a replacement: the key does not fit any more.
	key, err := os.ReadFile(server.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(server.KeyFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("with half a key", "second")
	if err := os.Remove(server.KeyFile); err != nil {
		t.Fatal(err)
	}
	expect("without the key", "second")
	if err := os.WriteFile(server.KeyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}

	kept := calls.Client("127.0.0.1")
	next := certtest.NewAuthority(t, dir, "ca") // in the same file
	next.Issue(t, dir, "server", "third", nil)
	next.Issue(t, dir, "client", "someone", nil)
	expect("after the authority was replaced", "third")
	if _, err := shake(address, kept); err == nil {
		t.Error("the old authority's client is still accepted, or accepts the new one's server")
	}
	kept.InsecureSkipVerify, kept.VerifyConnection = true, nil
	if _, err := shake(address, kept); err == nil {
		t.Error("the old authority's client is still accepted")
	}
}

// TestWhoIsRefused: every rule lets some in and keeps others out.
func TestWhoIsRefused(t *testing.T) {
	dir := t.TempDir()
	ca, other := certtest.NewAuthority(t, dir, "ca"), certtest.NewAuthority(t, dir, "other")
	server := ca.Issue(t, dir, "server", "server", nil)
	good := ca.Issue(t, dir, "good", "good", nil)
	foreign := other.Issue(t, dir, "foreign", "good", nil)
	elsewhere := ca.Issue(t, dir, "elsewhere", "elsewhere", func(c *x509.Certificate) {
		c.IPAddresses, c.DNSNames = []net.IP{net.IPv4(192, 0, 2, 1)}, nil
	})
	nameless := ca.Issue(t, dir, "nameless", "nameless", func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, nil })
	revoked := filepath.Join(dir, "revoked.crl")
	ca.Revoke(t, revoked, elsewhere.Cert)
	nobody := certtest.Pair{}

	for name, c := range map[string]struct {
		edit          func(*tlsconfig.Config)
		lets, refuses []certtest.Pair
	}{
		"no authority":           {func(*tlsconfig.Config) {}, []certtest.Pair{nobody, foreign, good}, nil},
		"an authority":           {func(c *tlsconfig.Config) { c.TrustedCAFile = ca.File }, []certtest.Pair{good, elsewhere}, []certtest.Pair{nobody, foreign}},
		"the system's authority": {func(c *tlsconfig.Config) { c.ClientCertAuth = true }, nil, []certtest.Pair{nobody, good}},
		"a common name":          {func(c *tlsconfig.Config) { c.TrustedCAFile, c.AllowedCN = ca.File, []string{"x", "good"} }, []certtest.Pair{good}, []certtest.Pair{elsewhere}},
		"a host name":            {func(c *tlsconfig.Config) { c.TrustedCAFile, c.AllowedHostname = ca.File, []string{"localhost"} }, []certtest.Pair{good}, []certtest.Pair{elsewhere}},
		"a revocation list":      {func(c *tlsconfig.Config) { c.TrustedCAFile, c.CRLFile = ca.File, revoked }, []certtest.Pair{good}, []certtest.Pair{elsewhere}},
		"the client's address":   {func(c *tlsconfig.Config) { c.TrustedCAFile, c.CheckClientAddress = ca.File, true }, []certtest.Pair{good, nameless}, []certtest.Pair{elsewhere}},
	} {
		config := tlsconfig.Config{CertFile: server.CertFile, KeyFile: server.KeyFile}
		c.edit(&config)
		address := serve(t, open(t, config).Server())
		connect := func(p certtest.Pair) error {
			_, err := shake(address, open(t, tlsconfig.Config{CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: ca.File}).Client("localhost"))
			return err
		}
		for _, p := range c.lets {
			if err := connect(p); err != nil {
				t.Errorf("%s refuses %q: %v", name, p.CertFile, err)
			}
		}
		for _, p := range c.refuses {
			if connect(p) == nil {
				t.Errorf("%s lets %q in", name, p.CertFile)
			}
		}
	}
}

func TestServersAreCheckedToo(t *testing.T) {
	dir := t.TempDir()
	ca, other := certtest.NewAuthority(t, dir, "ca"), certtest.NewAuthority(t, dir, "other")
	server := ca.Issue(t, dir, "server", "server", nil)
	revoked := filepath.Join(dir, "revoked.crl")
	ca.Revoke(t, revoked, server.Cert)
	address := serve(t, open(t, tlsconfig.Config{CertFile: server.CertFile, KeyFile: server.KeyFile}).Server())
	for name, c := range map[string]struct {
		config tlsconfig.Config
		host   string
		ok     bool
	}{
		"its authority":     {tlsconfig.Config{TrustedCAFile: ca.File}, "localhost", true},
		"another authority": {tlsconfig.Config{TrustedCAFile: other.File}, "localhost", false},
		"another host":      {tlsconfig.Config{TrustedCAFile: ca.File}, "example.com", false},
		"another name":      {tlsconfig.Config{TrustedCAFile: ca.File, AllowedCN: []string{"x"}}, "localhost", false},
		"revoked":           {tlsconfig.Config{TrustedCAFile: ca.File, CRLFile: revoked}, "localhost", false},
		"any server":        {tlsconfig.Config{TrustAnyServer: true}, "example.com", true},
		"TLS 1.3 alone":     {tlsconfig.Config{TrustedCAFile: ca.File, MinVersion: tls.VersionTLS13}, "localhost", true},
		"TLS 1.2 at most":   {tlsconfig.Config{TrustedCAFile: ca.File, MaxVersion: tls.VersionTLS12}, "localhost", true},
	} {
		if _, err := shake(address, open(t, c.config).Client(c.host)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnusableFilesAreNamedAtStart(t *testing.T) {
	dir := t.TempDir()
	ca := certtest.NewAuthority(t, dir, "ca")
	a, b := ca.Issue(t, dir, "a", "a", nil), ca.Issue(t, dir, "b", "b", nil)
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]tlsconfig.Config{
		"missing.pem": {CertFile: filepath.Join(dir, "missing.pem"), KeyFile: a.KeyFile},
		"b-key.pem":   {CertFile: a.CertFile, KeyFile: b.KeyFile},
		"empty":       {CertFile: a.CertFile, KeyFile: a.KeyFile, TrustedCAFile: empty},
		"ca.pem":      {CertFile: a.CertFile, KeyFile: a.KeyFile, CRLFile: ca.File},
	} {
		c.Logger = discard
		if _, err := tlsconfig.Open(c); !errors.Is(err, tlsconfig.ErrFiles) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v; want an error that names the file", name, err)
		}
	}
}

func TestExpiryIsLogged(t *testing.T) {
	dir := t.TempDir()
	ca := certtest.NewAuthority(t, dir, "ca")
	for text, left := range map[string]time.Duration{"expires soon": time.Minute, "has expired": -time.Minute, "": time.Hour} {
		pair := ca.Issue(t, dir, "a", "a", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(left) })
		var out bytes.Buffer
		open(t, tlsconfig.Config{CertFile: pair.CertFile, KeyFile: pair.KeyFile, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		if got := out.String(); text == "" && got != "" || !strings.Contains(got, text) {
			t.Errorf("with %s left the log says %q, want %q", left, got, text)
		}
	}
}

func TestSelfMadeCertificateLasts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fixtures")
	certFile, keyFile, err := tlsconfig.SelfMade(dir, []string{"127.0.0.1:1", "localhost:1"}, 1, discard)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, open(t, tlsconfig.Config{CertFile: certFile, KeyFile: keyFile}).Server())
	if _, err := shake(address, open(t, tlsconfig.Config{TrustedCAFile: certFile}).Client("127.0.0.1")); err != nil {
		t.Errorf("who has the certificate cannot check it: %v", err)
	}
	if _, _, err := tlsconfig.SelfMade(dir, nil, 1, discard); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(certFile); err != nil || !bytes.Equal(again, first) {
		t.Errorf("the certificate was made anew: %v", err)
	}
	expired := certtest.NewAuthority(t, t.TempDir(), "ca").Issue(t, dir, "old", "old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	if err := os.Rename(expired.CertFile, certFile); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tlsconfig.SelfMade(dir, nil, 1, discard); err != nil {
		t.Fatal(err)
	}
	open(t, tlsconfig.Config{CertFile: certFile, KeyFile: keyFile}) // the key fits
}
