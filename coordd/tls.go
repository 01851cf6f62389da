package coordd

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"

	"github.com/coordd/coordd/coordd/tlsconfig"
)

// security is what the member shows and asks for on its connections.
type security struct {
	client *tlsconfig.Source // nil: clients are served in the clear alone
	peer   *tlsconfig.Source // for calls to other members even where this one is reached in the clear
}

// openTLS reads the certificates, and makes those that the member makes itself:
// in <data-dir>/fixtures/client and <data-dir>/fixtures/peer, as etcd does.
func openTLS(cfg *Config, log *slog.Logger) (s security, err error) {
	if cfg.ClientTLS.Enabled() {
		c, err := cfg.tlsFiles(&cfg.ClientTLS, "client", slices.Concat(cfg.ListenClientURLs, cfg.ListenClientHTTPURLs), log)
		if err != nil {
			return s, err
		}
		if s.client, err = tlsconfig.Open(c); err != nil {
			return s, cfg.ClientTLS.fileError("", err)
		}
	}
	c, err := cfg.tlsFiles(&cfg.PeerTLS, "peer", cfg.ListenPeerURLs, log)
	if err != nil {
		return s, err
	}
	c.CheckClientAddress = !cfg.PeerTLS.SkipClientSANVerify
	if s.peer, err = tlsconfig.Open(c); err != nil {
		return s, cfg.PeerTLS.fileError("peer-", err)
	}
	cfg.warnOfUnusedTLS(log)
	return s, nil
}

// fileError names the flags behind an error in the files of one side.
func (t *TLS) fileError(prefix string, err error) error {
	flags := fmt.Sprintf("--%scert-file and what belongs to it", prefix)
	unread, _ := errors.AsType[*fs.PathError](err)
	for flag, file := range map[string]string{
		"cert-file": t.CertFile, "key-file": t.KeyFile, "trusted-ca-file": t.TrustedCAFile, "crl-file": t.CRLFile,
		"client-cert-file": t.ClientCertFile, "client-key-file": t.ClientKeyFile,
	} {
		if unread != nil && file == unread.Path {
			flags = "--" + prefix + flag
		}
	}
	return fmt.Errorf("%w: %s: %w", ErrConfig, flags, err)
}

// tlsFiles is one side's settings with what holds for both. They have been validated.
func (cfg *Config) tlsFiles(t *TLS, side string, listen []string, log *slog.Logger) (tlsconfig.Config, error) {
	low, err := tlsconfig.Version(cfg.TLSMinVersion)
	high, err2 := tlsconfig.Version(cfg.TLSMaxVersion)
	suites, err3 := tlsconfig.CipherSuites(cfg.CipherSuites)
	c := tlsconfig.Config{
		CertFile: t.CertFile, KeyFile: t.KeyFile,
		ClientCertFile: t.ClientCertFile, ClientKeyFile: t.ClientKeyFile,
		TrustedCAFile: t.TrustedCAFile, CRLFile: t.CRLFile,
		ClientCertAuth: t.ClientCertAuth,
		AllowedCN:      t.AllowedCN, AllowedHostname: t.AllowedHostname,
		MinVersion: low, MaxVersion: high, CipherSuites: suites,
		Logger: log.With("tls", side),
	}
	if err := errors.Join(err, err2, err3); err != nil {
		return c, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if !t.Auto {
		return c, nil
	}
	if t.CertFile != "" {
		log.Warn("a certificate is given, so none is made", "tls", side, "cert-file", t.CertFile)
		return c, nil
	}
	c.TrustAnyServer = true
	c.CertFile, c.KeyFile, err = tlsconfig.SelfMade(filepath.Join(cfg.dataDir(), "fixtures", side), hosts(listen), cfg.SelfSignedCertValidity, c.Logger)
	return c, err
}

// hosts are the addresses, as host:port, that a certificate for the URLs is to name.
func hosts(urls []string) []string {
	var all []string
	for _, s := range urls {
		if u, err := url.Parse(s); err == nil && !isSocket(u) && u.Hostname() != "" {
			all = append(all, u.Host)
		}
	}
	return append(all, "localhost:0")
}

// warnOfUnusedTLS says which ports are open to everybody although certificates are given.
func (cfg *Config) warnOfUnusedTLS(log *slog.Logger) {
	for _, side := range []struct {
		tls  *TLS
		urls []string
	}{
		{&cfg.ClientTLS, slices.Concat(cfg.ListenClientURLs, cfg.ListenClientHTTPURLs)},
		{&cfg.PeerTLS, cfg.ListenPeerURLs},
	} {
		for _, s := range side.urls {
			if u, err := url.Parse(s); err == nil && side.tls.Enabled() && !isSecure(u) {
				log.Warn("this URL is served in the clear: no certificate is shown or asked for there; write https or unixs", "url", s)
			}
		}
	}
}
