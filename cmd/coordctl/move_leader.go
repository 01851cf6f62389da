package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newMoveLeaderCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "move-leader <transferee-member-id>",
		Short: "Have another member lead",
		Long: `Have another member lead, as before work on the machine of the one that does. The present leader must be among
--endpoints: only it can hand over.`,
		Example: `  coordctl --endpoints 10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379 move-leader 8e9e05c52164694d`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, answer{})
			if err != nil {
				return err
			}
			target, err := memberArgument(cmd, args)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), s.commandTimeout)
			defer cancel()
			c, leader, err := s.leader(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			resp, err := c.MoveLeader(ctx, target)
			if err != nil {
				return err
			}
			return p.print(answer{(*pb.MoveLeaderResponse)(resp), fmt.Sprintf("Leadership transferred from %x to %x", leader, target)})
		},
	}
}

// leader returns a client for the one among the endpoints that leads, and its ID. The caller closes it.
func (s *session) leader(ctx context.Context) (*clientv3.Client, uint64, error) {
	var failed error
	for _, endpoint := range s.endpoints {
		c, err := s.client(endpoint)
		if err != nil {
			return nil, 0, err
		}
		status, err := c.Status(ctx, endpoint)
		if err == nil && status.Header.GetMemberId() == status.Leader {
			return c, status.Leader, nil
		}
		c.Close()
		if err != nil {
			failed = fmt.Errorf("ask %s whether it leads: %w", endpoint, err)
		}
	}
	if failed != nil {
		return nil, 0, failed
	}
	return nil, 0, badArguments("no leader endpoint given at %v", s.endpoints)
}
