// Package httpapi is what a member answers over plain HTTP on its client port:
// health, version and metrics; and the listener that lets gRPC and HTTP share
// that port without gRPC passing through net/http.
package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Config is what the handlers need. Every field is needed.
type Config struct {
	Node           *raftnode.Node
	Store          *kvcore.Store
	ServerVersion  string // X.Y.Z
	ClusterVersion string // X.Y.0
	RequestTimeout time.Duration
	Metrics        prometheus.Gatherer
}

// NewHandler returns the handler of /health, /livez, /readyz, /version and
// /metrics.
func NewHandler(cfg Config) http.Handler {
	h := handler{cfg}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", h.health)
	mux.HandleFunc("GET /version", h.version)
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{}))
	h.serveChecks(mux, "/livez", []check{{"serializable_read", h.readHere}})
	h.serveChecks(mux, "/readyz", []check{
		{"serializable_read", h.readHere},
		{"linearizable_read", h.readEverywhere},
		{"non_learner", h.votes},
	})
	return mux
}

var errLearner = errors.New("httpapi: this member is a learner")

type handler struct{ Config }

// health is for load balancers and container probes. With serializable=true it
// speaks of this member alone, otherwise of the cluster as this member sees it.
func (h handler) health(w http.ResponseWriter, r *http.Request) {
	answer := struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{Health: "true"}
	probe := h.readEverywhere
	if r.URL.Query().Get("serializable") == "true" {
		probe = h.readHere
	}
	status := http.StatusOK
	if err := probe(r.Context()); err != nil {
		status = http.StatusServiceUnavailable
		answer.Health, answer.Reason = "false", "RANGE ERROR:"+err.Error()
		if h.Node.Status().Leader == 0 {
			answer.Reason = "RAFT NO LEADER"
		}
	}
	writeJSON(w, status, answer)
}

// version tells clients which API they talk to; some parse the first three numbers.
func (h handler) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		Server  string `json:"etcdserver"`
		Cluster string `json:"etcdcluster"`
	}{h.ServerVersion, h.ClusterVersion})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("httpapi: marshal %T: %v", v, err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(body)
}

// check is one thing that must hold for a member to be alive or ready.
type check struct {
	name string
	run  func(context.Context) error
}

func (h handler) readHere(ctx context.Context) error {
	_, err := h.Store.Range(ctx, &pb.RangeRequest{Key: []byte{0}, Limit: 1, KeysOnly: true})
	return err
}

func (h handler) readEverywhere(ctx context.Context) error {
	if h.Node.Status().Leader == 0 {
		return raftnode.ErrNoLeader
	}
	ctx, cancel := context.WithTimeout(ctx, h.RequestTimeout)
	defer cancel()
	return h.Node.ReadIndex(ctx)
}

func (h handler) votes(context.Context) error {
	if h.Node.Status().Learner {
		return errLearner
	}
	return nil
}

// serveChecks serves all the checks at path and each at a path below it.
func (h handler) serveChecks(mux *http.ServeMux, path string, checks []check) {
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		excluded := map[string]bool{}
		for _, name := range r.URL.Query()["exclude"] {
			excluded[name] = true
		}
		var wanted []check
		for _, c := range checks {
			if !excluded[c.name] {
				wanted = append(wanted, c)
			}
		}
		runChecks(w, r, wanted)
	})
	for _, c := range checks {
		mux.HandleFunc("GET "+path+"/"+c.name, func(w http.ResponseWriter, r *http.Request) {
			runChecks(w, r, []check{c})
		})
	}
}

// runChecks answers 200 and ok if all the checks pass, with a line for each
// when the request says verbose; else 503 and the lines.
func runChecks(w http.ResponseWriter, r *http.Request, checks []check) {
	var lines strings.Builder
	healthy := true
	for _, c := range checks {
		if err := c.run(r.Context()); err != nil {
			healthy = false
			fmt.Fprintf(&lines, "[-]%s failed: %v\n", c.name, err)
		} else {
			fmt.Fprintf(&lines, "[+]%s ok\n", c.name)
		}
	}
	if !healthy {
		http.Error(w, lines.String(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Query().Has("verbose") {
		fmt.Fprint(w, lines.String())
	}
	fmt.Fprint(w, "ok\n")
}
