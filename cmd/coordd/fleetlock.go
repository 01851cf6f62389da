package main

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/coordd"
	"github.com/coordd/coordd/locksmith/fleetlock"
)

// openFleetLock is what makes FleetLock's handler for a member.
func openFleetLock(f coordd.FleetLock, client *clientv3.Client, log *slog.Logger) (http.Handler, []prometheus.Collector, error) {
	h, err := fleetlock.New(fleetlock.Config{Client: client, Groups: f.Groups, TokenFile: f.TokenFile, Logger: log})
	if err != nil {
		return nil, nil, err
	}
	return h, h.Collectors(), nil
}
