// Package fetch gets one document over HTTP, within bounds of time and size.
//
// It serves those who ask a machine or a monitoring system for its state: no
// answer is worth waiting for beyond the context, none is followed to elsewhere,
// and files with certificates and tokens are read anew each time, for they are
// renewed while an agent runs.
package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// ErrTooLong says that a body is longer than the request allows.
var ErrTooLong = errors.New("the answer is too long")

// Request is what to get.
type Request struct {
	URL       string
	CAFile    string // PEM; empty: the system's authorities
	TokenFile string // its content is sent as the bearer token; empty: none
	MaxBody   int64  // bytes; a longer body is ErrTooLong. 0: the body is not read
}

// Response is what was got: the answer of the server that was asked, whatever its status. A redirection is such an answer.
type Response struct {
	Status int
	Body   []byte
}

// Get gets a document. It uses no proxy and keeps no connection.
func Get(ctx context.Context, r Request) (Response, error) {
	req, err := r.http(ctx)
	if err != nil {
		return Response{}, fmt.Errorf("fetch: %w", err)
	}
	authorities, err := r.authorities()
	if err != nil {
		return Response{}, fmt.Errorf("fetch: %w", err)
	}
	transport := http.Transport{
		TLSClientConfig:        &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return Response{}, fmt.Errorf("fetch: %w", err)
	}
	defer resp.Body.Close()
	got := Response{Status: resp.StatusCode}
	if r.MaxBody == 0 {
		return got, nil
	}
	got.Body, err = io.ReadAll(io.LimitReader(resp.Body, r.MaxBody+1))
	if err != nil {
		return Response{}, fmt.Errorf("fetch: read the answer: %w", err)
	}
	if int64(len(got.Body)) > r.MaxBody {
		return Response{}, fmt.Errorf("fetch: %w: more than %d bytes", ErrTooLong, r.MaxBody)
	}
	return got, nil
}

func (r *Request) http(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "locksmithd")
	if u := req.URL.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	if r.TokenFile != "" {
		token, err := os.ReadFile(r.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	return req, nil
}

// authorities is nil for the system's.
func (r *Request) authorities() (*x509.CertPool, error) {
	if r.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(r.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read authorities: %s holds no certificate", r.CAFile)
	}
	return pool, nil
}

// ParseURL says what a setting's URL is, if it can be got at all.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		// url.Error quotes all of it, and with it a password.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("is no URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%q must begin with http:// or https://", u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q has no host", u.Redacted())
	}
	return u, nil
}
