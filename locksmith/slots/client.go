package slots

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// ClientConfig says where the store is and how to be let in.
type ClientConfig struct {
	Endpoints []string // URLs; at least one
	CAFile    string   // PEM; empty: the system's authorities
	CertFile  string   // PEM; needs KeyFile
	KeyFile   string   // PEM; needs CertFile
	Username  string   // empty: no user authentication
	Password  string
	Timeout   time.Duration // of authentication, 0: without limit
}

// Validate says what is wrong with c, or nil.
func (c *ClientConfig) Validate() error {
	switch {
	case len(c.Endpoints) == 0:
		return errors.New("slots: no endpoint is given")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("slots: a client certificate needs its key, and a key its certificate")
	case c.Username == "" && c.Password != "":
		return errors.New("slots: a password needs a username")
	}
	return nil
}

// NewClient makes a client that notices dead members and turns to others. It
// connects when it is used, except that it authenticates at once when there is
// a username.
func NewClient(c ClientConfig) (*clientv3.Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	tlsConfig, err := c.tls()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            c.Endpoints,
		TLS:                  tlsConfig,
		Username:             c.Username,
		Password:             c.Password,
		DialTimeout:          c.Timeout,
		DialKeepAliveTime:    5 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               zap.NewNop(), // errors are returned; the default logger would print them as well
	})
	if err != nil {
		return nil, fmt.Errorf("slots: open client of %s: %w", strings.Join(c.Endpoints, ","), err)
	}
	return client, nil
}

// tls is nil when nothing asks for TLS. Each file stands for itself: an
// authority alone verifies the server, a certificate alone identifies the client.
func (c *ClientConfig) tls() (*tls.Config, error) {
	wanted := c.CAFile != "" || c.CertFile != ""
	for _, e := range c.Endpoints {
		wanted = wanted || strings.HasPrefix(e, "https://")
	}
	if !wanted {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("slots: read authorities: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("slots: read authorities: %s holds no certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("slots: load client certificate: %w", err)
			}
			return &cert, nil
		}
		if _, err := load(nil); err != nil {
			return nil, err
		}
		t.GetClientCertificate = load // with each connection: agents run for longer than certificates last
	}
	return t, nil
}
