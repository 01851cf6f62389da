package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var (
	errLearner = errors.New("not supported for learner") // in etcd's words, which people search for
	errCorrupt = errors.New("alarm activated: CORRUPT")
)

// healthHandler answers the questions about a member's health. Its metrics have etcd's names.
type healthHandler struct {
	Config
	healthy, unhealthy prometheus.Counter     // answers of /health
	last               *prometheus.GaugeVec   // 1 or 0 by type and name
	checked            *prometheus.CounterVec // by type, name and status
}

// serveHealth serves /health, /livez and /readyz and registers their metrics.
func serveHealth(mux *http.ServeMux, cfg Config) {
	h := &healthHandler{
		Config:    cfg,
		healthy:   prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_success", Help: "Answers of /health that said true."}),
		unhealthy: prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_failures", Help: "Answers of /health that said false."}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "etcd_server_healthcheck",
			Help: "Whether a check of /livez or /readyz passed the last time: 1 or 0."}, []string{"type", "name"}),
		checked: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_server_healthchecks_total",
			Help: "Checks made for /livez and /readyz."}, []string{"type", "name", "status"}),
	}
	cfg.Metrics.MustRegister(h.healthy, h.unhealthy, h.last, h.checked)
	mux.Handle("/health", onlyGet(h.serve))
	h.serveChecks(mux, "livez", []check{{"serializable_read", h.readHere}})
	h.serveChecks(mux, "readyz", []check{
		{"data_corruption", h.intact},
		{"serializable_read", h.readHere},
		{"linearizable_read", h.readEverywhere},
		{"non_learner", h.votes},
	})
}

// serve is for load balancers and container probes. With serializable=true it
// speaks of this member alone, otherwise of the cluster as this member sees it.
// exclude=NOSPACE, for one, leaves an alarm out of account.
func (h *healthHandler) serve(w http.ResponseWriter, r *http.Request) {
	answer := struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{Health: "true"}
	status := http.StatusOK
	query := r.URL.Query()
	if answer.Reason = h.reason(r.Context(), query["exclude"], query.Get("serializable") == "true"); answer.Reason == "" {
		h.healthy.Inc()
	} else {
		h.unhealthy.Inc()
		answer.Health, status = "false", http.StatusServiceUnavailable
		h.Logger.Warn("health is false", "reason", answer.Reason)
	}
	// etcd says text/plain, though it is JSON.
	writeJSON(w, status, "text/plain; charset=utf-8", answer)
}

// reason says why the member is not healthy; empty if it is.
func (h *healthHandler) reason(ctx context.Context, excluded []string, serializable bool) string {
	for _, a := range h.Alarms() {
		if name := a.GetAlarm().String(); !slices.Contains(excluded, name) {
			return "ALARM " + name
		}
	}
	probe := h.readEverywhere
	if serializable {
		probe = h.readHere
	} else if h.Node.Status().Leader == 0 {
		return "RAFT NO LEADER"
	}
	if err := probe(ctx); err != nil {
		return "RANGE ERROR:" + err.Error()
	}
	return ""
}

// check is one thing that must hold for a member to be alive or ready.
type check struct {
	name string
	run  func(context.Context) error
}

func (h *healthHandler) readHere(ctx context.Context) error {
	_, err := h.Store.Range(ctx, &pb.RangeRequest{Key: []byte{0}, Limit: 1, KeysOnly: true})
	return err
}

func (h *healthHandler) readEverywhere(ctx context.Context) error {
	if h.Node.Status().Leader == 0 {
		return raftnode.ErrNoLeader
	}
	ctx, cancel := context.WithTimeout(ctx, h.RequestTimeout)
	defer cancel()
	return h.Node.ReadIndex(ctx)
}

func (h *healthHandler) votes(context.Context) error {
	if h.Node.Status().Learner {
		return errLearner
	}
	return nil
}

func (h *healthHandler) intact(context.Context) error {
	if slices.ContainsFunc(h.Alarms(), func(a *pb.AlarmMember) bool { return a.GetAlarm() == pb.AlarmType_CORRUPT }) {
		return errCorrupt
	}
	return nil
}

// serveChecks serves all the checks of a kind at its path and each at a path below it.
func (h *healthHandler) serveChecks(mux *http.ServeMux, kind string, checks []check) {
	mux.Handle("/"+kind, onlyGet(func(w http.ResponseWriter, r *http.Request) {
		h.answer(w, r, kind, without(checks, r.URL.Query()["exclude"], h.Logger))
	}))
	for _, c := range checks {
		mux.Handle("/"+kind+"/"+c.name, onlyGet(func(w http.ResponseWriter, r *http.Request) {
			h.answer(w, r, kind, []check{c})
		}))
	}
}

// without returns the checks less those excluded by name. A name that is not
// known is no error: the probe may be written for another release.
func without(checks []check, excluded []string, log *slog.Logger) []check {
	checks = slices.Clone(checks)
	var unknown []string
	for _, name := range excluded {
		before := len(checks)
		checks = slices.DeleteFunc(checks, func(c check) bool { return c.name == name })
		if name != "" && len(checks) == before {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 { // anyone can ask for any number of them
		log.Debug("health checks to exclude are not known", "names", unknown)
	}
	return checks
}

// answer runs the checks. It answers 200 and ok if all pass, with a line for
// each when the request says verbose; else 503 and the lines.
func (h *healthHandler) answer(w http.ResponseWriter, r *http.Request, kind string, checks []check) {
	var lines strings.Builder
	healthy := true
	for _, c := range checks {
		passed, status := 1.0, "success"
		if err := c.run(r.Context()); err != nil {
			passed, status, healthy = 0, "error", false
			fmt.Fprintf(&lines, "[-]%s failed: %v\n", c.name, err)
		} else {
			fmt.Fprintf(&lines, "[+]%s ok\n", c.name)
		}
		h.last.WithLabelValues(kind, c.name).Set(passed)
		h.checked.WithLabelValues(kind, c.name, status).Inc()
	}
	if !healthy {
		h.Logger.Warn("health checks failed", "type", kind, "checks", lines.String())
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
