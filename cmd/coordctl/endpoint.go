package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newEndpointCommand(s *session) *cobra.Command {
	e := &endpointCommand{session: s}
	cmd := parent(&cobra.Command{
		Use:   "endpoint",
		Short: "Ask the members one by one how they are",
		Example: `  coordctl endpoint health --cluster
  coordctl endpoint status --cluster -w table`,
	}, e.newHealthCommand(), e.newStatusCommand(), e.newHashKVCommand())
	cmd.PersistentFlags().BoolVar(&e.cluster, "cluster", false, "ask every member of the cluster, not only those of --endpoints")
	return cmd
}

// endpointCommand is what the commands under endpoint share.
type endpointCommand struct {
	*session
	cluster bool
}

// targets returns the endpoints to ask.
func (e *endpointCommand) targets(cmd *cobra.Command) ([]string, error) {
	if e.cluster {
		return e.memberEndpoints(cmd)
	}
	return e.endpoints, nil
}

// askEach calls ask with a client for one endpoint after the other. An endpoint that fails is reported on stderr, as
// a failure of what, and does not keep the others from being asked; failed tells of it.
func (e *endpointCommand) askEach(cmd *cobra.Command, what string, ask func(ctx context.Context, c *clientv3.Client, endpoint string) error) (failed bool, err error) {
	targets, err := e.targets(cmd)
	if err != nil {
		return false, err
	}
	for _, endpoint := range targets {
		if err := e.askOne(cmd, endpoint, ask); err != nil {
			failed = true
			fmt.Fprintf(cmd.ErrOrStderr(), "Failed to get the %s of endpoint %s (%v)\n", what, endpoint, err)
		}
	}
	return failed, nil
}

func (e *endpointCommand) askOne(cmd *cobra.Command, endpoint string, ask func(context.Context, *clientv3.Client, string) error) error {
	c, err := e.client(endpoint)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), e.commandTimeout)
	defer cancel()
	return clientv3.ContextError(ctx, ask(ctx, c, endpoint))
}
