package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newUserDeleteCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "delete <user name>",
		Short:   "Delete a user",
		Example: `  coordctl user delete alice`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.change(cmd, args, 1, "a user name", func(ctx context.Context, c *clientv3.Client) (answer, error) {
				resp, err := c.UserDelete(ctx, args[0])
				return answer{(*pb.AuthUserDeleteResponse)(resp), fmt.Sprintf("User %s deleted", args[0])}, err
			})
		},
	}
}
