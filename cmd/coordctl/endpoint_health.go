package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (e *endpointCommand) newHealthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Check that each member can serve a read that the cluster agrees on",
		Long: `Check that each member can serve a read that the cluster agrees on, and that no alarm is raised. All are asked
at the same time. Exits with 1 if any is not healthy.`,
		Example: `  coordctl endpoint health --cluster`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := e.printer(cmd, healthResult{})
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			targets, err := e.targets(cmd)
			if err != nil {
				return err
			}
			healths := make(healthResult, len(targets))
			var asked sync.WaitGroup
			for i, endpoint := range targets {
				asked.Go(func() { healths[i] = e.checkHealth(cmd, endpoint) })
			}
			asked.Wait()
			if err := p.print(healths); err != nil {
				return err
			}
			return healths.failure(cmd, p.format)
		},
	}
}

// checkHealth asks one endpoint. It is safe to call for several at a time.
func (e *endpointCommand) checkHealth(cmd *cobra.Command, endpoint string) endpointHealth {
	health := endpointHealth{Endpoint: endpoint}
	err := e.askOne(cmd, endpoint, func(ctx context.Context, c *clientv3.Client, _ string) error {
		start := time.Now()
		// Any key will do. Having to be denied it takes the cluster's agreement just as reading it does.
		_, err := c.Get(ctx, "health")
		health.Took = time.Since(start).String()
		if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
			return err
		}
		alarms, err := c.AlarmList(ctx)
		if err != nil {
			return fmt.Errorf("list the alarms: %w", err)
		}
		if len(alarms.Alarms) > 0 {
			raised := "Active Alarm(s): "
			for _, alarm := range alarms.Alarms {
				raised += alarm.GetAlarm().String() + " "
			}
			return errors.New(raised)
		}
		return nil
	})
	if err != nil {
		health.Error = err.Error()
	}
	health.Health = err == nil
	return health
}

type endpointHealth struct {
	Endpoint string `json:"endpoint"`
	Health   bool   `json:"health"`
	Took     string `json:"took"`
	Error    string `json:"error,omitempty"`
}

type healthResult []endpointHealth

// failure returns an error if an endpoint is not healthy. Simple output keeps those apart, on stderr.
func (r healthResult) failure(cmd *cobra.Command, format string) error {
	healthy := true
	for _, e := range r {
		if e.Health {
			continue
		}
		healthy = false
		if format == "simple" {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s is unhealthy: failed to commit proposal: %s\n", e.Endpoint, e.Error)
		}
	}
	if !healthy {
		return errors.New("unhealthy cluster")
	}
	return nil
}

func (r healthResult) simple(t *text) {
	for _, e := range r {
		if e.Health {
			t.linef("%s is healthy: successfully committed proposal: took = %s", e.Endpoint, e.Took)
		}
	}
}

func (r healthResult) fields(t *text) {
	for _, e := range r {
		t.quoted("Endpoint", e.Endpoint)
		t.field("Health", e.Health)
		t.field("Took", e.Took)
		t.field("Error", e.Error)
		t.line("")
	}
}

func (r healthResult) value(bool) any { return []endpointHealth(r) }

func (r healthResult) table(*text) (header []string, rows [][]string) {
	for _, e := range r {
		rows = append(rows, []string{e.Endpoint, strconv.FormatBool(e.Health), e.Took, e.Error})
	}
	return []string{"endpoint", "health", "took", "error"}, rows
}
