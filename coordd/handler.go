package coordd

import (
	"net/http"

	"github.com/coordd/coordd/coordd/httpapi"
	"github.com/coordd/coordd/coordd/rpc"
	"github.com/prometheus/client_golang/prometheus"
)

// storageVersion is the etcd release whose store layout is kept.
const storageVersion = "3.7.0"

// handler answers HTTP. It is made once: its metrics can be registered once.
func (s *Server) handler() (http.Handler, error) {
	registry := s.registry()
	fleetLock, err := s.fleetLock(registry)
	if err != nil {
		return nil, err
	}
	return httpapi.NewHandler(httpapi.Config{
		Node:           s.node,
		Store:          s.storage.store,
		Alarms:         s.storage.store.Alarms,
		ServerVersion:  rpc.Version,
		ClusterVersion: clusterVersion,
		StorageVersion: storageVersion,
		RequestTimeout: requestTimeout(&s.cfg),
		Gateway:        s.clients.gateway,
		FleetLock:      fleetLock,
		Metrics:        registry,
		EnablePprof:    s.cfg.EnablePprof,
		Logger:         s.log,
	}), nil
}

// registry holds the metrics of all parts of the member.
func (s *Server) registry() *prometheus.Registry {
	registry := httpapi.NewRegistry(s.node, s.storage.store, rpc.Version)
	registry.MustRegister(s.clients.rpc.Collectors()...)
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "etcd_server_quota_backend_bytes",
		Help: "Bytes that the backend may take; 0 where there is no bound."}, func() float64 { return float64(s.quota.Bytes) }))
	return registry
}
