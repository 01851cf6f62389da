package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newDefragCommand(s *session) *cobra.Command {
	e := &endpointCommand{session: s}
	cmd := &cobra.Command{
		Use:   "defrag",
		Short: "Give the space that compaction has freed back to the file system",
		Long: `Give the space that compaction has freed back to the file system, one member after the other. An etcd server
answers nobody while it does that. It takes long for a large store: --command-timeout bounds each member's time.`,
		Example: `  coordctl defrag --cluster --command-timeout 60s`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.checkFormat(); err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			targets, err := e.targets(cmd)
			if err != nil {
				return err
			}
			failed := false
			for _, endpoint := range targets {
				if err := e.defrag(cmd, endpoint); err != nil {
					failed = true
				}
			}
			if failed {
				return errReported
			}
			return nil
		},
	}
	cmd.PersistentFlags().BoolVar(&e.cluster, "cluster", false, "defragment every member of the cluster, not only those of --endpoints")
	return cmd
}

// defrag defragments one member and tells how it went.
func (e *endpointCommand) defrag(cmd *cobra.Command, endpoint string) error {
	stop := showElapsed(cmd.ErrOrStderr(), fmt.Sprintf("Defragmenting etcd member[%s]", endpoint))
	start := time.Now()
	err := e.askOne(cmd, endpoint, func(ctx context.Context, c *clientv3.Client, _ string) error {
		_, err := c.Defragment(ctx, endpoint)
		return err
	})
	took := time.Since(start)
	stop()
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "Failed to defragment etcd member[%s]. took %s. (%v)\n", endpoint, took, err)
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Finished defragmenting etcd member[%s]. took %s\n", endpoint, took)
	return nil
}
