package httpapi

import (
	"net/http"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// fleetLockBase is where FleetLock is served: the base URL of its clients.
const fleetLockBase = "/fleetlock"

// withFleetLock serves FleetLock under its base before next sees the path: what
// ServeMux redirects to without the doubled slash of some clients would lose its
// method and body on the way. Of a base URL without a slash at its end Zincati makes
// /v1/…, so that is served too.
func withFleetLock(next, fleetLock http.Handler) http.Handler {
	fleetLock = withCertificate(fleetLock)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		below, ok := strings.CutPrefix(path, fleetLockBase)
		switch {
		case ok && (below == "" || below[0] == '/'):
			http.StripPrefix(fleetLockBase, fleetLock).ServeHTTP(w, r)
		case path == "/v1/pre-reboot" || path == "/v1/steady-state":
			fleetLock.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// withCertificate lets the services see the client's certificate, as they see that
// of a connection of gRPC.
func withCertificate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil {
			shown := &peer.Peer{AuthInfo: credentials.TLSInfo{State: *r.TLS}}
			r = r.WithContext(peer.NewContext(r.Context(), shown))
		}
		next.ServeHTTP(w, r)
	})
}
