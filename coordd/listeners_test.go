package coordd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listenOn is a configuration that listens on these, and on a free port for members.
func listenOn(urls ...string) *Config {
	cfg := Defaults()
	cfg.ListenClientURLs = urls
	cfg.ListenPeerURLs = []string{"http://127.0.0.1:0"}
	return &cfg
}

func TestURLsOfOneAddressShareIt(t *testing.T) {
	address := freeAddress(t)
	l, err := listen(listenOn("http://"+address, "https://"+address, "http://127.0.0.1:0", "http://127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if len(l.clients) != 3 || !l.clients[0].clear || !l.clients[0].secure || l.clients[1].secure {
		t.Errorf("listeners %+v; want the first for both schemes and two for port 0", l.clients)
	}
	if !slices.Equal(l.clientURLs[:2], []string{"http://" + address, "https://" + address}) || strings.HasSuffix(l.clientURLs[2], ":0") {
		t.Errorf("served at %q", l.clientURLs)
	}
}

func TestHTTPOnPortsOfItsOwn(t *testing.T) {
	cfg := listenOn("http://127.0.0.1:0")
	cfg.ListenClientHTTPURLs = []string{"http://127.0.0.1:0"}
	l, err := listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if a, b := l.clients[0], l.clients[1]; !a.grpc || a.http || b.grpc || !b.http {
		t.Errorf("listeners %+v, %+v; want gRPC alone, then HTTP alone", a, b)
	}
	cfg = listenOn("http://" + freeAddress(t))
	cfg.ListenClientHTTPURLs = cfg.ListenClientURLs
	if _, err := listen(cfg); !errors.Is(err, ErrConfig) {
		t.Errorf("one address for both alone: %v, want ErrConfig", err)
	}
}

func TestSocketFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "socket")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen(listenOn("unix://" + path)); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a socket in use: %v", err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	l, err := listen(listenOn("unix://"+path, "unixs://"+path))
	if err != nil {
		t.Fatalf("a socket that was left behind: %v", err)
	}
	if len(l.clients) != 1 || !l.clients[0].clear || !l.clients[0].secure {
		t.Errorf("listeners %+v", l.clients)
	}
	l.close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's file stays after the end: %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(listenOn("unix://" + path)); err == nil {
		t.Error("a file that is no socket was taken")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("the file that is no socket: %q, %v", data, err)
	}
}

func TestSocketsHandedOver(t *testing.T) {
	open := func(address string) net.Listener {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	byAddress, byName := open("127.0.0.1:0"), open("127.0.0.1:0")
	cfg := listenOn("http://"+byAddress.Addr().String(), "http://10.255.255.1:2379")
	cfg.Sockets = []Socket{{"client", byName}, {"coordd.socket", byAddress}}
	l, err := listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if l.clients[0].Listener != byAddress || l.clients[1].Listener != byName {
		t.Error("the sockets are not those of their URLs")
	}
	unknown := open("127.0.0.1:0")
	cfg = listenOn("http://127.0.0.1:0")
	cfg.Sockets = []Socket{{"something", unknown}}
	if _, err := listen(cfg); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), unknown.Addr().String()) {
		t.Errorf("a socket without an URL: %v, want ErrConfig that names it", err)
	}
}

func TestSameAddress(t *testing.T) {
	tcp := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, c := range []struct {
		have             net.Addr
		network, address string
		want             bool
	}{
		{tcp("127.0.0.1:1"), "tcp", "127.0.0.1:1", true},
		{tcp("127.0.0.1:1"), "tcp", "localhost:1", true},
		{tcp("127.0.0.1:1"), "tcp", "127.0.0.1:2", false},
		{tcp("127.0.0.1:1"), "tcp", "0.0.0.0:1", false},
		{tcp("[::]:1"), "tcp", "0.0.0.0:1", true},
		{tcp("[::]:1"), "tcp", ":1", true},
		{tcp("10.0.0.1:1"), "tcp", "10.0.0.2:1", false},
		{&net.UnixAddr{Name: "/a", Net: "unix"}, "unix", "/a", true},
		{&net.UnixAddr{Name: "/a", Net: "unix"}, "unix", "/b", false},
		{&net.UnixAddr{Name: "/a", Net: "unix"}, "tcp", "/a", false},
	} {
		if got := sameAddress(c.have, c.network, c.address); got != c.want {
			t.Errorf("%s and %s: %t, want %t", c.have, c.address, got, c.want)
		}
	}
}

func TestListenSettingsAreValidated(t *testing.T) {
	pair := TLS{CertFile: "c", KeyFile: "k"}
	for name, c := range map[string]struct {
		edit func(*Config)
		want string // in the error; empty: none
	}{
		"https without a certificate":   {func(c *Config) { c.ListenClientURLs = []string{"https://127.0.0.1:1"} }, "--cert-file"},
		"unixs without a certificate":   {func(c *Config) { c.ListenClientURLs = []string{"unixs:///s"} }, "--cert-file"},
		"metrics without a certificate": {func(c *Config) { c.ListenMetricsURLs = []string{"https://127.0.0.1:1"} }, "--cert-file"},
		"peers without a certificate":   {func(c *Config) { c.ListenPeerURLs = []string{"https://127.0.0.1:1"} }, "--peer-cert-file"},
		"https with one":                {func(c *Config) { c.ListenClientURLs, c.ClientTLS = []string{"https://127.0.0.1:1"}, pair }, ""},
		"https with auto-tls":           {func(c *Config) { c.ListenClientURLs, c.ClientTLS.Auto = []string{"https://127.0.0.1:1"}, true }, ""},
		"a certificate without key":     {func(c *Config) { c.ClientTLS.CertFile = "c" }, "--key-file"},
		"a client key alone":            {func(c *Config) { c.PeerTLS.ClientKeyFile = "k" }, "--peer-client-cert-file"},
		"client-cert-auth alone":        {func(c *Config) { c.ClientTLS.ClientCertAuth = true }, "--client-cert-auth"},
		"auto-tls that is to check":     {func(c *Config) { c.PeerTLS.Auto, c.PeerTLS.ClientCertAuth = true, true }, "--peer-auto-tls"},
		"names without a check":         {func(c *Config) { c.ClientTLS = pair; c.ClientTLS.AllowedHostname = []string{"x"} }, "--trusted-ca-file"},
		"two kinds of names": {func(c *Config) {
			c.PeerTLS = pair
			c.PeerTLS.ClientCertAuth, c.PeerTLS.AllowedCN, c.PeerTLS.AllowedHostname = true, []string{"x"}, []string{"x"}
		}, "--peer-cert-allowed-cn"},
		"an unknown version":       {func(c *Config) { c.TLSMinVersion = "TLS1.1" }, "--tls-min-version"},
		"versions upside down":     {func(c *Config) { c.TLSMinVersion, c.TLSMaxVersion = "TLS1.3", "TLS1.2" }, "--tls-max-version"},
		"an unknown cipher suite":  {func(c *Config) { c.CipherSuites = []string{"ROT13"} }, "ROT13"},
		"suites of TLS1.3":         {func(c *Config) { c.TLSMinVersion, c.CipherSuites = "TLS1.3", []string{"TLS_AES_128_GCM_SHA256"} }, "--cipher-suites"},
		"no years":                 {func(c *Config) { c.ClientTLS.Auto, c.SelfSignedCertValidity = true, 0 }, "--self-signed-cert-validity"},
		"a host name to listen on": {func(c *Config) { c.ListenMetricsURLs = []string{"http://example.com:1"} }, "--listen-metrics-urls"},
		"a negative keepalive":     {func(c *Config) { c.GRPCKeepAliveTimeout = -1 }, "--grpc-keepalive-timeout"},
		"a kind of metrics":        {func(c *Config) { c.Metrics = "all" }, "--metrics"},
		"an advertised socket":     {func(c *Config) { c.AdvertiseClientURLs = []string{"unix:///s"} }, ""},
		"an URL without a host":    {func(c *Config) { c.AdvertiseClientURLs = []string{"http://:1"} }, "--advertise-client-urls"},
		"every address":            {func(c *Config) { c.ListenClientURLs = []string{"http://:1", "http://[::]:2", "http://0.0.0.0:3"} }, ""},
	} {
		cfg := Defaults()
		c.edit(&cfg)
		err := cfg.Validate()
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; want an error with %q", name, err, c.want)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
