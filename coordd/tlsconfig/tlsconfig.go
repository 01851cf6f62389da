// Package tlsconfig makes TLS configurations from certificate files, and reads
// the files again whenever they have changed: every handshake uses what stands
// in them at its beginning, so that certificates and authorities are replaced
// without a restart.
package tlsconfig

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/tlsutil"
)

// ErrFiles says that certificate files cannot be used; its text says which and why.
var ErrFiles = errors.New("tlsconfig: unusable certificates")

// Config says which files there are and what is asked of the other side. The
// meaning of each field is that of etcd's flag of this name.
type Config struct {
	CertFile, KeyFile             string // needed to serve
	ClientCertFile, ClientKeyFile string // shown to servers; empty: CertFile and KeyFile
	TrustedCAFile                 string // empty: the system's authorities
	CRLFile                       string // PEM or DER; empty: none is revoked
	ClientCertAuth                bool   // clients must show a certificate; so they must with TrustedCAFile
	// AllowedCN and AllowedHostname are whose certificates are accepted, of
	// clients and of servers; at most one of them is given. Empty: all.
	AllowedCN, AllowedHostname []string
	// CheckClientAddress refuses a client whose certificate has names or
	// addresses that are not the client's own.
	CheckClientAddress bool
	// TrustAnyServer accepts whatever a server shows: the members' certificates are self-made.
	TrustAnyServer         bool
	MinVersion, MaxVersion uint16   // of package tls; 0: its choice
	CipherSuites           []uint16 // empty: package tls's choice
	Logger                 *slog.Logger
}

// clientCerts tells whether clients must show a certificate.
func (c *Config) clientCerts() bool { return c.ClientCertAuth || c.TrustedCAFile != "" }

// Source holds what stands in the files. It is safe for concurrent use.
type Source struct {
	config Config

	mu       sync.Mutex
	current  *material
	reported string // the last failure to read the files, not to be logged again
}

// Open reads the files for the first time. [ErrFiles].
func Open(c Config) (*Source, error) {
	s := &Source{config: c}
	read, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFiles, err)
	}
	if s.current, err = read.parse(&s.config); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFiles, err)
	}
	s.current.warnOfExpiry(&s.config, time.Now())
	return s, nil
}

// contents is what stands in the files, by name.
type contents map[string][]byte

func (s *Source) read() (contents, error) {
	c := contents{}
	for _, name := range []string{
		s.config.CertFile, s.config.KeyFile, s.config.ClientCertFile, s.config.ClientKeyFile,
		s.config.TrustedCAFile, s.config.CRLFile,
	} {
		if name == "" || c[name] != nil {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		c[name] = data
	}
	return c, nil
}

func (c contents) equal(other contents) bool {
	for name, data := range c {
		if !bytes.Equal(data, other[name]) {
			return false
		}
	}
	return true
}

// material is the parsed content of the files. It is not changed any more.
type material struct {
	read         contents
	cert, client *tls.Certificate // nil where there is none
	authorities  *x509.CertPool   // nil: the system's
	revoked      map[string]bool  // serial numbers
}

func (c contents) parse(config *Config) (m *material, err error) {
	m = &material{read: c}
	if m.cert, err = c.pair(config.CertFile, config.KeyFile); err != nil {
		return nil, err
	}
	if m.client, err = c.pair(config.ClientCertFile, config.ClientKeyFile); err != nil {
		return nil, err
	}
	if m.client == nil {
		m.client = m.cert
	}
	if name := config.TrustedCAFile; name != "" {
		m.authorities = x509.NewCertPool()
		if !m.authorities.AppendCertsFromPEM(c[name]) {
			return nil, fmt.Errorf("%s: no certificate in it; give a PEM file of one or more authorities", name)
		}
	}
	if name := config.CRLFile; name != "" {
		if m.revoked, err = parseCRL(c[name]); err != nil {
			return nil, fmt.Errorf("%s: revocation list: %w", name, err)
		}
	}
	return m, nil
}

func (c contents) pair(certFile, keyFile string) (*tls.Certificate, error) {
	if certFile == "" {
		return nil, nil
	}
	cert, err := tls.X509KeyPair(c[certFile], c[keyFile])
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return &cert, nil
}

func parseCRL(data []byte) (map[string]bool, error) {
	if block, _ := pem.Decode(data); block != nil {
		data = block.Bytes
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, err
	}
	revoked := map[string]bool{}
	for _, entry := range list.RevokedCertificateEntries {
		revoked[entry.SerialNumber.String()] = true
	}
	return revoked, nil
}

// warnOfExpiry logs certificates that have expired or have less than a tenth of their time left.
func (m *material) warnOfExpiry(c *Config, now time.Time) {
	warn := func(cert *tls.Certificate, file string) {
		life, left := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore), cert.Leaf.NotAfter.Sub(now)
		switch {
		case left <= 0:
			c.Logger.Error("a certificate has expired", "cert-file", file, "not-after", cert.Leaf.NotAfter)
		case left < life/10:
			c.Logger.Warn("a certificate expires soon", "cert-file", file, "not-after", cert.Leaf.NotAfter)
		}
	}
	if m.cert != nil {
		warn(m.cert, c.CertFile)
	}
	if c.ClientCertFile != "" {
		warn(m.client, c.ClientCertFile)
	}
}

// load returns what stands in the files now. Where that cannot be read or used,
// as when only one file of a pair has been replaced yet, what was read before goes on.
func (s *Source) load() *material {
	s.mu.Lock()
	defer s.mu.Unlock()
	read, err := s.read()
	if err == nil && read.equal(s.current.read) {
		s.reported = ""
		return s.current
	}
	var m *material
	if err == nil {
		m, err = read.parse(&s.config)
	}
	if err != nil {
		if text := err.Error(); text != s.reported {
			s.reported = text
			s.config.Logger.Warn("changed certificate files cannot be used; the certificates read before stay in use", "error", err)
		}
		return s.current
	}
	s.current, s.reported = m, ""
	s.config.Logger.Info("certificate files were read anew", "cert-file", s.config.CertFile, "trusted-ca-file", s.config.TrustedCAFile)
	m.warnOfExpiry(&s.config, time.Now())
	return m
}

// Server is the configuration of a listener that offers the application
// protocols in this order. It stays valid when the files change.
func (s *Source) Server(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, // the least of those that GetConfigForClient may choose
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return s.load().server(&s.config, hello, protocols), nil
		},
	}
}

// server is the configuration of one handshake.
func (m *material) server(c *Config, hello *tls.ClientHelloInfo, protocols []string) *tls.Config {
	config := m.base(c)
	config.NextProtos = protocols
	config.Certificates = []tls.Certificate{*m.cert}
	// A resumed session would carry on what an authority that is no longer trusted has signed.
	config.SessionTicketsDisabled = true
	if !c.clientCerts() {
		return config
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = m.authorities
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := m.accept(c, state); err != nil {
			return err
		}
		if c.CheckClientAddress {
			return checkAddress(hello.Context(), state.PeerCertificates[0], hello.Conn.RemoteAddr())
		}
		return nil
	}
	return config
}

// Client is the configuration of one connection to the server of that name or
// address, with what stands in the files now.
func (s *Source) Client(serverName string) *tls.Config {
	m := s.load()
	config := m.base(&s.config)
	config.ServerName = serverName
	config.RootCAs = m.authorities
	if m.client != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.client, nil }
	}
	if s.config.TrustAnyServer {
		config.InsecureSkipVerify = true
		return config
	}
	config.VerifyConnection = func(state tls.ConnectionState) error { return m.accept(&s.config, state) }
	return config
}

func (m *material) base(c *Config) *tls.Config {
	return &tls.Config{
		MinVersion:   max(c.MinVersion, tls.VersionTLS12),
		MaxVersion:   c.MaxVersion,
		CipherSuites: c.CipherSuites,
	}
}

// accept refuses a verified certificate that was revoked or is not of those allowed.
func (m *material) accept(c *Config, state tls.ConnectionState) error {
	for _, cert := range state.PeerCertificates {
		if m.revoked[cert.SerialNumber.String()] {
			return fmt.Errorf("certificate of %s with serial number %x is revoked", cert.Subject, cert.SerialNumber)
		}
	}
	leaf := state.PeerCertificates[0]
	if len(c.AllowedCN) > 0 && !slices.Contains(c.AllowedCN, leaf.Subject.CommonName) {
		return fmt.Errorf("certificate's common name %q is not among those allowed", leaf.Subject.CommonName)
	}
	if len(c.AllowedHostname) > 0 && !slices.ContainsFunc(c.AllowedHostname, func(host string) bool { return leaf.VerifyHostname(host) == nil }) {
		return fmt.Errorf("certificate of %s is for none of the allowed hosts", leaf.Subject)
	}
	return nil
}

// Version reads "TLS1.2" or "TLS1.3"; 0 for an empty name, which leaves the choice to package tls.
func Version(name string) (uint16, error) { return tlsutil.GetTLSVersion(name) }

// CipherSuites reads the names of cipher suites, as package tls and etcd write them.
func CipherSuites(names []string) ([]uint16, error) { return tlsutil.GetCipherSuites(names) }
