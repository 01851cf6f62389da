package main

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coordd/coordd/coordd/coorddtest"
)

// TestProbe: each reason for which no answer comes is named, and a server that would answer has none.
func TestProbe(t *testing.T) {
	plain := strings.TrimPrefix(coorddtest.Start(t), "http://")
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	strict := httptest.NewUnstartedServer(http.NotFoundHandler())
	strict.EnableHTTP2 = true
	strict.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	strict.StartTLS()
	defer strict.Close()
	trusting := secure.Client().Transport.(*http.Transport).TLSClientConfig
	for _, c := range []struct {
		endpoint string
		secure   *tls.Config
		want     string
	}{
		{plain, nil, ""},
		{"http://" + plain, trusting, ""},
		{secure.URL, trusting, ""},
		{"127.0.0.1:1", nil, "connection refused"},
		{"https://" + plain, nil, "first record does not look like a TLS handshake"},
		{strings.TrimPrefix(secure.URL, "https://"), nil, "is not TLS: write https://"},
		{secure.URL, nil, "certificate signed by unknown authority"},
		{strict.URL, trusting, "certificate required"},
		{"http:/typo", nil, "unknown port"},
		{"unix:/nowhere/socket", nil, "no such file"},
	} {
		switch err := probe(t.Context(), c.endpoint, c.secure); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.endpoint, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.endpoint, err, c.want)
		}
	}
}
