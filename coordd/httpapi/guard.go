package httpapi

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// GuardOrigin decides, as etcd does, which web pages may make a browser call:
// those of the origins, "*" for all, get the answer's headers that let them read
// it. A request without TLS must name this member by one of hosts, "*" or none
// for any: else a page whose name an attacker has led here could pass for ours.
func GuardOrigin(next http.Handler, origins, hosts []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil && !allows(hosts, hostOf(r.Host)) {
			http.Error(w, "this member is not known by that host name: it is not in --host-whitelist", http.StatusMisdirectedRequest)
			return
		}
		if origin := r.Header.Get("Origin"); allows(origins, "*") {
			allowOrigin(w, "*")
		} else if origin != "" && allows(origins, origin) {
			allowOrigin(w, origin)
		}
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusOK)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func allows(list []string, name string) bool {
	return len(list) == 0 || slices.Contains(list, "*") || slices.Contains(list, name)
}

func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

func allowOrigin(w http.ResponseWriter, origin string) {
	w.Header().Add("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE")
	w.Header().Add("Access-Control-Allow-Origin", origin)
	w.Header().Add("Access-Control-Allow-Headers", "accept, content-type, authorization")
}

// ProbesOnly lets through what a monitor asks for: metrics and health. The rest
// of the API is not to be had on a port that is opened for monitoring.
func ProbesOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		switch first {
		case "metrics", "health", "livez", "readyz":
			next.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}
