package httpapi

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

var teapot = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })

func TestOriginsAndHosts(t *testing.T) {
	for name, c := range map[string]struct {
		origins, hosts []string
		method, origin string
		secure         bool
		status         int
		allowed        string // Access-Control-Allow-Origin
	}{
		"all":                   {[]string{"*"}, []string{"*"}, "GET", "https://page", false, http.StatusTeapot, "*"},
		"one origin":            {[]string{"https://page"}, nil, "GET", "https://page", false, http.StatusTeapot, "https://page"},
		"another origin":        {[]string{"https://page"}, nil, "GET", "https://other", false, http.StatusTeapot, ""},
		"a preflight":           {[]string{"*"}, nil, "OPTIONS", "https://page", false, http.StatusOK, "*"},
		"a host":                {[]string{"*"}, []string{"example.com"}, "GET", "", false, http.StatusTeapot, "*"},
		"another host":          {[]string{"*"}, []string{"localhost"}, "GET", "", false, http.StatusMisdirectedRequest, ""},
		"another host with TLS": {[]string{"*"}, []string{"localhost"}, "GET", "", true, http.StatusTeapot, "*"},
	} {
		request := httptest.NewRequest(c.method, "http://example.com:2379/x", nil)
		if c.origin != "" {
			request.Header.Set("Origin", c.origin)
		}
		if c.secure {
			request.TLS = new(tls.ConnectionState)
		}
		w := httptest.NewRecorder()
		GuardOrigin(teapot, c.origins, c.hosts).ServeHTTP(w, request)
		if w.Code != c.status || w.Header().Get("Access-Control-Allow-Origin") != c.allowed {
			t.Errorf("%s: %d, allowed %q; want %d, %q", name, w.Code, w.Header().Get("Access-Control-Allow-Origin"), c.status, c.allowed)
		}
	}
}

func TestProbesAlone(t *testing.T) {
	for path, want := range map[string]int{
		"/metrics": http.StatusTeapot, "/health": http.StatusTeapot, "/livez": http.StatusTeapot, "/readyz/x": http.StatusTeapot,
		"/": http.StatusNotFound, "/v3/kv/range": http.StatusNotFound, "/version": http.StatusNotFound,
		"/debug/pprof/": http.StatusNotFound, "/metricsx": http.StatusNotFound, "//v3/kv/range": http.StatusNotFound,
	} {
		w := httptest.NewRecorder()
		request := httptest.NewRequest("GET", "http://x/", nil)
		request.URL.Path = path
		ProbesOnly(teapot).ServeHTTP(w, request)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

func TestRejectionsAreLoggedSparsely(t *testing.T) {
	var out strings.Builder
	r := rejections{log: slog.New(slog.NewTextHandler(&out, nil))}
	for range 100 {
		r.report(&net.TCPAddr{}, errHTTP)
	}
	if n := strings.Count(out.String(), "rejected connection"); n != 1 {
		t.Errorf("%d lines for a hundred connections at once", n)
	}
	later := r.last.Add(rejectionInterval)
	if n, ok := r.admit(later); !ok || n != 99 {
		t.Errorf("after a while: %d left out, %t; want 99, true", n, ok)
	}
	if _, ok := r.admit(later.Add(time.Millisecond)); ok {
		t.Error("the next one is logged at once")
	}
}

func TestHTTPGoesFirst(t *testing.T) {
	if got := Protocols(true, true); !slices.Equal(got, []string{"http/1.1", "h2"}) {
		t.Errorf("offered %q: a browser or curl would take HTTP/2, which only gRPC answers", got)
	}
}
