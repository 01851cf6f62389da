package coordd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/coordd/coordd/coordd/member"
	"github.com/coordd/coordd/coordd/tlsconfig"
)

// Socket is a listening socket that somebody else has opened, as a service
// manager does before it starts the member.
type Socket struct {
	Name     string // what it is for: "client", "peer" or "metrics"; else it goes by its address
	Listener net.Listener
}

// validateURLs looks at each URL alone; those to listen on must be of this
// machine, and those that are advertised must lead there.
func (c *Config) validateURLs() error {
	for _, l := range []struct {
		flag     string
		urls     []string
		check    func(*url.URL) error
		optional bool
	}{
		{"listen-client-urls", c.ListenClientURLs, checkBindable, false},
		{"listen-client-http-urls", c.ListenClientHTTPURLs, checkBindable, true},
		{"listen-peer-urls", c.ListenPeerURLs, checkBindable, false},
		{"listen-metrics-urls", c.ListenMetricsURLs, checkBindable, true},
		{"advertise-client-urls", c.AdvertiseClientURLs, checkHasHost, false},
		{"initial-advertise-peer-urls", c.InitialAdvertisePeerURLs, checkHasHost, false},
	} {
		if len(l.urls) == 0 && !l.optional {
			return fmt.Errorf("%w: --%s is empty: give at least one URL, as http://127.0.0.1:2379", ErrConfig, l.flag)
		}
		for _, s := range l.urls {
			u, err := member.ParseURL(s)
			if err != nil {
				return fmt.Errorf("%w: --%s: %w", ErrConfig, l.flag, err)
			}
			if err := l.check(u); err != nil {
				return fmt.Errorf("%w: --%s %s: %w", ErrConfig, l.flag, s, err)
			}
		}
	}
	return nil
}

// checkBindable refuses host names: what they lead to may change, and need not be here.
func checkBindable(u *url.URL) error {
	if host := u.Hostname(); !isSocket(u) && host != "" && host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q is no IP address to listen on; write the address of an interface, as 127.0.0.1 or 0.0.0.0", host)
		}
	}
	return nil
}

func checkHasHost(u *url.URL) error {
	if !isSocket(u) && u.Hostname() == "" {
		return errors.New("it has no host; give the address at which this member is reached")
	}
	return nil
}

// isSocket tells URLs of local sockets.
func isSocket(u *url.URL) bool { return u.Scheme == "unix" || u.Scheme == "unixs" }

// isSecure tells URLs that are served with TLS.
func isSecure(u *url.URL) bool { return u.Scheme == "https" || u.Scheme == "unixs" }

func (c *Config) validateTLS() error {
	for _, side := range []struct {
		prefix string
		tls    *TLS
		listen [][]string
	}{
		{"", &c.ClientTLS, [][]string{c.ListenClientURLs, c.ListenClientHTTPURLs, c.ListenMetricsURLs}},
		{"peer-", &c.PeerTLS, [][]string{c.ListenPeerURLs}},
	} {
		if err := side.tls.validate(side.prefix); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		for _, urls := range side.listen {
			if at := firstSecure(urls); at != "" && !side.tls.Enabled() {
				return fmt.Errorf("%w: %s needs a certificate: give --%scert-file and --%skey-file, or --%sauto-tls", ErrConfig, at, side.prefix, side.prefix, side.prefix)
			}
		}
	}
	return c.validateTLSVersions()
}

func firstSecure(urls []string) string {
	for _, s := range urls {
		if u, err := url.Parse(s); err == nil && isSecure(u) {
			return s
		}
	}
	return ""
}

// validate refuses settings that would be without effect: who asks for a check
// must not go without it.
func (t *TLS) validate(prefix string) error {
	switch {
	case (t.CertFile == "") != (t.KeyFile == ""):
		return fmt.Errorf("give both --%scert-file and --%skey-file, or neither", prefix, prefix)
	case (t.ClientCertFile == "") != (t.ClientKeyFile == ""):
		return fmt.Errorf("give both --%sclient-cert-file and --%sclient-key-file, or neither", prefix, prefix)
	case len(t.AllowedCN) > 0 && len(t.AllowedHostname) > 0:
		return fmt.Errorf("give --%scert-allowed-cn or --%scert-allowed-hostname, not both", prefix, prefix)
	}
	checks := t.ClientCertAuth || t.TrustedCAFile != ""
	if asks := checks || t.CRLFile != "" || len(t.AllowedCN)+len(t.AllowedHostname) > 0; !asks {
		return nil
	}
	switch {
	case t.Auto && t.CertFile == "":
		return fmt.Errorf("with --%sauto-tls no other certificate can be checked: give --%scert-file and --%skey-file instead", prefix, prefix, prefix)
	case !checks:
		return fmt.Errorf("allowed names and revoked certificates are looked at only with --%strusted-ca-file or --%sclient-cert-auth", prefix, prefix)
	case t.CertFile == "" && t.ClientCertAuth:
		return fmt.Errorf("--%sclient-cert-auth needs --%scert-file and --%skey-file", prefix, prefix, prefix)
	}
	return nil
}

func (c *Config) validateTLSVersions() error {
	low, err := tlsconfig.Version(c.TLSMinVersion)
	if err != nil {
		return fmt.Errorf("%w: --tls-min-version: %w", ErrConfig, err)
	}
	high, err := tlsconfig.Version(c.TLSMaxVersion)
	if err != nil {
		return fmt.Errorf("%w: --tls-max-version: %w", ErrConfig, err)
	}
	if _, err := tlsconfig.CipherSuites(c.CipherSuites); err != nil {
		return fmt.Errorf("%w: --cipher-suites: %w", ErrConfig, err)
	}
	switch {
	case high != 0 && low > high:
		return fmt.Errorf("%w: --tls-min-version %s is above --tls-max-version %s", ErrConfig, c.TLSMinVersion, c.TLSMaxVersion)
	case low == tls.VersionTLS13 && len(c.CipherSuites) > 0:
		return fmt.Errorf("%w: --cipher-suites: those of TLS1.3 cannot be chosen; leave them out with --tls-min-version TLS1.3", ErrConfig)
	case (c.ClientTLS.Auto || c.PeerTLS.Auto) && (c.SelfSignedCertValidity < 1 || c.SelfSignedCertValidity > maxCertYears):
		return fmt.Errorf("%w: --self-signed-cert-validity is %d: give 1 to %d years", ErrConfig, c.SelfSignedCertValidity, maxCertYears)
	}
	return nil
}

// maxCertYears keeps the end of a certificate within what a Duration can hold.
const maxCertYears = 100

func (c *Config) validateKeepAlive() error {
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"grpc-keepalive-min-time", c.GRPCKeepAliveMinTime},
		{"grpc-keepalive-interval", c.GRPCKeepAliveInterval},
		{"grpc-keepalive-timeout", c.GRPCKeepAliveTimeout},
	} {
		if d.value < 0 {
			return fmt.Errorf("%w: --%s is %s: give 0s to %s", ErrConfig, d.flag, d.value, time.Duration(math.MaxInt64))
		}
	}
	return nil
}
