package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/coordd/coordd/locksmith/trigger"
)

// server shows the metrics and whether the agent is alive.
type server struct {
	http  *http.Server // nil: nowhere
	ended chan struct{}
}

// serve begins to, at an address or nowhere.
func serve(address string, registry *prometheus.Registry, s *supervisor) (*server, error) {
	if address == "" {
		return &server{}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics.listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { showAlive(w, s) })
	srv := &server{
		http: &http.Server{
			Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		},
		ended: make(chan struct{}),
	}
	go func() {
		defer close(srv.ended)
		_ = srv.http.Serve(listener) // until stop: what fails is tried again inside
	}()
	return srv, nil
}

// showAlive answers 200 while the agent's loop turns, with its status, and 503 when it hangs.
func showAlive(w http.ResponseWriter, s *supervisor) {
	status, err := s.alive(time.Now())
	answer := map[string]any{"alive": err == nil, "status": status}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		answer["error"] = err.Error()
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer) // an error is that of a client who has gone
}

// stop ends the server, and with it requests that are under way.
func (s *server) stop() {
	if s.http != nil {
		_ = s.http.Close()
		<-s.ended
	}
}

// listen lets triggers tell by themselves. The returned function waits for its end, after that of ctx.
func listen(ctx context.Context, t *trigger.Sources) (wait func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.Run(ctx)
	}()
	return func() { <-ended }
}
