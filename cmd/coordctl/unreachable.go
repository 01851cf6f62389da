package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// unreachableError is an error for want of an answer, with what stands in the way to each server.
type unreachableError struct {
	err  error
	ways []string
}

func (e *unreachableError) Error() string { return e.err.Error() }
func (e *unreachableError) Unwrap() error { return e.err }

const (
	probeTime = 500 * time.Millisecond // for each server
	probes    = 5                      // servers at most
)

// explainUnreachable finds out why no server has answered: the client tries on silently until the time is over.
func (s *session) explainUnreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil || !unreachable(err) {
		return err // interrupted, or answered
	}
	cfg, configErr := s.config(s.endpoints)
	if configErr != nil {
		return err // it was usable before
	}
	explained := &unreachableError{err: err}
	for _, endpoint := range s.endpoints[:min(probes, len(s.endpoints))] {
		if err := probe(ctx, endpoint, cfg.TLS); err != nil {
			explained.ways = append(explained.ways, fmt.Sprintf("%s: %v", endpoint, err))
		}
	}
	return explained
}

// probe connects as the client does. It is nil where nothing speaks against an answer.
func probe(ctx context.Context, endpoint string, secure *tls.Config) error {
	address, encrypted := endpoint, secure != nil
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		address, encrypted = u.Host, strings.HasSuffix(u.Scheme, "s")
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	network, address := networkOf(endpoint, address)
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer conn.Close() // nothing more is said on it
	if encrypted {
		config := secure.Clone()
		if config == nil {
			config = new(tls.Config)
		}
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(address) // has a port: it was dialled
		}
		config.NextProtos = []string{"h2"}
		conn = tls.Client(conn, config)
	}
	return firstWord(conn)
}

func networkOf(endpoint, address string) (network, at string) {
	for _, scheme := range []string{"unix:", "unixs:"} {
		if path, ok := strings.CutPrefix(endpoint, scheme); ok {
			return "unix", strings.TrimPrefix(path, "//")
		}
	}
	return "tcp", address
}

// firstWord begins HTTP/2 and looks at what comes back.
func firstWord(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(probeTime)); err != nil {
		return err
	}
	// The preface and an empty SETTINGS frame (RFC 9113 §3.4).
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return err
	}
	var first [1]byte // of a SETTINGS frame a zero, for it is short
	_, err := conn.Read(first[:])
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return errors.New("it takes the connection and says nothing")
	}
	if _, encrypted := conn.(*tls.Conn); !encrypted && (err != nil || first[0] != 0) {
		return fmt.Errorf("it hangs up on what is not TLS: write https://%s, and give --cacert", conn.RemoteAddr())
	}
	return err
}
