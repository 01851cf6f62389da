package httpapi

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

func TestWithFleetLock(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "member ", r.URL.Path) })
	h := withFleetLock(mux, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "fleetlock ", r.URL.Path)
		if p, ok := peer.FromContext(r.Context()); ok {
			fmt.Fprint(w, " ", p.AuthInfo.(credentials.TLSInfo).State.ServerName)
		}
	}))
	for path, want := range map[string]string{
		"/fleetlock/v1/pre-reboot":    "fleetlock /v1/pre-reboot",
		"/fleetlock//v1/steady-state": "fleetlock //v1/steady-state", // not redirected
		"/fleetlock/":                 "fleetlock /",
		"/fleetlock":                  "fleetlock ",
		"/v1/pre-reboot":              "fleetlock /v1/pre-reboot",
		"/v1/steady-state":            "fleetlock /v1/steady-state",
		"/v1/other":                   "member /v1/other",
		"/fleetlocks/v1/pre-reboot":   "member /fleetlocks/v1/pre-reboot",
		"/v3/kv/put":                  "member /v3/kv/put",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "http://member"+path, nil))
		if got := w.Body.String(); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	r := httptest.NewRequest("POST", "https://member/fleetlock/v1/pre-reboot", nil)
	r.TLS = &tls.ConnectionState{ServerName: "over TLS"}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if got, want := w.Body.String(), "fleetlock /v1/pre-reboot over TLS"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
