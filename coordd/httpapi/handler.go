// Package httpapi is what a member answers over plain HTTP on its client port:
// health, version, metrics, profiles and the JSON gateway; and the listener that
// lets gRPC and HTTP share that port without gRPC passing through net/http.
package httpapi

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Config is what the handlers need. Every field is needed but FleetLock.
type Config struct {
	Node           *raftnode.Node
	Store          *kvcore.Store
	Alarms         func() []*pb.AlarmMember // those that are raised
	ServerVersion  string                   // X.Y.Z
	ClusterVersion string                   // X.Y.0
	StorageVersion string                   // X.Y.0
	RequestTimeout time.Duration
	Gateway        http.Handler // of /v3/ and /coord.v1/, as from NewGateway
	FleetLock      http.Handler // of /fleetlock/; nil: it is not served
	Metrics        *prometheus.Registry
	EnablePprof    bool // serve profiles to whoever reaches the port
	Logger         *slog.Logger
}

// NewHandler returns the handler of /health, /livez, /readyz, /version,
// /metrics, /v3/, /coord.v1/, and of /fleetlock/ and /debug/pprof/ where those are
// enabled.
func NewHandler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.InstrumentMetricHandler(cfg.Metrics, promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{})))
	mux.Handle("/version", onlyGet(version(cfg)))
	serveHealth(mux, cfg)
	mux.Handle("/v3/", cfg.Gateway)
	mux.Handle("/v3beta/", cfg.Gateway)
	mux.Handle("/coord.v1/", boundUnackedOf(cfg.Gateway))
	if cfg.EnablePprof {
		servePprof(mux)
	}
	if cfg.FleetLock != nil {
		return withFleetLock(mux, cfg.FleetLock)
	}
	return mux
}

// version tells clients which API they talk to; some parse the first three numbers.
func version(cfg Config) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, "application/json", struct {
			Server  string `json:"etcdserver"`
			Cluster string `json:"etcdcluster"`
			Storage string `json:"storage"`
		}{cfg.ServerVersion, cfg.ClusterVersion, cfg.StorageVersion})
	}
}

func servePprof(mux *http.ServeMux) {
	mux.HandleFunc("/debug/pprof/", pprof.Index) // and the named profiles below it
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}

// onlyGet refuses every other method, HEAD too, as etcd does.
func onlyGet(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		next(w, r)
	}
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("httpapi: marshal %T: %v", v, err))
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	w.Write(body)
}
