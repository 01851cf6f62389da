package main

import (
	"fmt"
	"io"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/srv"
)

// discovery finds the cluster's members by DNS SRV records, as etcd's clients do.
type discovery struct {
	domain      string
	serviceName string
	insecure    bool
}

// endpoints looks up _etcd-client-ssl._tcp and _etcd-client._tcp of the domain.
func (d *discovery) endpoints(warnings io.Writer) ([]string, error) {
	found, err := srv.GetClient("etcd-client", d.domain, d.serviceName)
	if err != nil {
		return nil, fmt.Errorf("discover the members of %s: %w", d.domain, err)
	}
	var endpoints []string
	for _, endpoint := range found.Endpoints {
		if !d.insecure && strings.HasPrefix(endpoint, "http://") {
			fmt.Fprintf(warnings, "Warning: ignoring discovered insecure endpoint %q\n", endpoint)
			continue
		}
		endpoints = append(endpoints, endpoint)
	}
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("discover the members of %s: no usable endpoint", d.domain)
	}
	return endpoints, nil
}

// serverName is what the members' certificates must be for. Insecure records say nothing about whom to trust.
func (d *discovery) serverName() string {
	if d.insecure {
		return ""
	}
	return d.domain
}
