package fetch

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hostile answers in ways that must not hurt.
func hostile(w http.ResponseWriter, r *http.Request) {
	flush := w.(http.Flusher).Flush
	switch r.URL.Path {
	case "/drip": // a byte whenever it is taken, for ever
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte("x")); err != nil {
				return
			}
			flush()
			select {
			case <-time.After(time.Millisecond):
			case <-r.Context().Done():
			}
		}
	case "/silent":
		<-r.Context().Done()
	case "/long":
		w.Write(make([]byte, 10<<20))
	case "/headers":
		w.Header().Set("X", strings.Repeat("x", 1<<20))
	case "/elsewhere":
		http.Redirect(w, r, "/token", http.StatusFound)
	case "/token":
		fmt.Fprint(w, r.Header.Get("Authorization"))
	case "/broken":
		w.Header().Set("Content-Length", "100")
		w.Write([]byte("short"))
	default:
		http.Error(w, "no", http.StatusNotFound)
	}
}

func TestGet(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(hostile))
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	withUser := strings.Replace(server.URL, "http://", "http://user:pass@", 1)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	for name, c := range map[string]struct {
		request Request
		status  int
		body    string
	}{
		"a status":                              {Request{URL: server.URL}, 404, ""},
		"a body":                                {Request{URL: server.URL, MaxBody: 3}, 404, "no\n"},
		"a bearer token":                        {Request{URL: server.URL + "/token", MaxBody: 99, TokenFile: token}, 200, "Bearer s3cret"},
		"a user":                                {Request{URL: withUser + "/token", MaxBody: 99}, 200, "Basic dXNlcjpwYXNz"},
		"a redirection":                         {Request{URL: server.URL + "/elsewhere"}, 302, ""},
		"a status that arrives before the body": {Request{URL: server.URL + "/drip"}, 200, ""},
		"a long body unread":                    {Request{URL: server.URL + "/long"}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Get(t.Context(), c.request)
			if err != nil || got.Status != c.status || string(got.Body) != c.body {
				t.Errorf("%d %q, %v", got.Status, got.Body, err)
			}
		})
	}
}

func TestGetFails(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(hostile))
	t.Cleanup(server.Close)
	missing := filepath.Join(t.TempDir(), "missing")
	closed := httptest.NewServer(http.HandlerFunc(hostile))
	closed.Close()
	for name, c := range map[string]struct {
		request Request
		want    error
		text    string
	}{
		"a dripping body":      {Request{URL: server.URL + "/drip", MaxBody: 1 << 20}, context.DeadlineExceeded, ""},
		"silence":              {Request{URL: server.URL + "/silent"}, context.DeadlineExceeded, ""},
		"a body that is long":  {Request{URL: server.URL + "/long", MaxBody: 1 << 10}, ErrTooLong, "1024"},
		"headers that are":     {Request{URL: server.URL + "/headers"}, nil, "header"},
		"half a body":          {Request{URL: server.URL + "/broken", MaxBody: 1 << 10}, nil, "EOF"},
		"nobody there":         {Request{URL: closed.URL}, nil, "refused"},
		"no authorities":       {Request{URL: server.URL, CAFile: missing}, fs.ErrNotExist, ""},
		"no certificate there": {Request{URL: server.URL, CAFile: os.DevNull}, nil, "no certificate"},
		"no token":             {Request{URL: server.URL, TokenFile: missing}, fs.ErrNotExist, ""},
		"no URL":               {Request{URL: "http://[::1"}, nil, "parse"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			if errors.Is(c.want, context.DeadlineExceeded) {
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			got, err := Get(ctx, c.request)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%d %.20q, %v", got.Status, got.Body, err)
			}
		})
	}
}

func TestGetOverTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(hostile))
	t.Cleanup(server.Close)
	if got, err := Get(t.Context(), Request{URL: server.URL}); err == nil {
		t.Errorf("a certificate of nobody is trusted: %d", got.Status)
	}
	authority := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(authority, pem.EncodeToMemory(&block), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Get(t.Context(), Request{URL: server.URL, CAFile: authority}); err != nil || got.Status != 404 {
		t.Errorf("%d, %v", got.Status, err)
	}
}

func TestParseURL(t *testing.T) {
	for _, s := range []string{"http://localhost", "https://user:s3cret@[::1]:9090/prefix?x=y"} {
		if _, err := ParseURL(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for s, want := range map[string]string{
		"":                               "must begin with",
		"localhost:9090":                 "must begin with",
		"ftp://user:s3cret@localhost/":   "must begin with",
		"http://":                        "has no host",
		"http://:80":                     "has no host",
		"http://user:s3cret@local host/": "is no URL",
		"http://user:s3cret@h:port/":     "is no URL",
	} {
		if _, err := ParseURL(s); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", s, err)
		}
	}
}
