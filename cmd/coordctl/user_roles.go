package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newUserGrantRoleCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "grant-role <user name> <role name>",
		Short:   "Give a user a role",
		Example: `  coordctl user grant-role alice readers`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.change(cmd, args, 2, "a user name and a role name", func(ctx context.Context, c *clientv3.Client) (answer, error) {
				resp, err := c.UserGrantRole(ctx, args[0], args[1])
				return answer{(*pb.AuthUserGrantRoleResponse)(resp), fmt.Sprintf("Role %s is granted to user %s", args[1], args[0])}, err
			})
		},
	}
}

func newUserRevokeRoleCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke-role <user name> <role name>",
		Short:   "Take a role from a user",
		Example: `  coordctl user revoke-role alice readers`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.change(cmd, args, 2, "a user name and a role name", func(ctx context.Context, c *clientv3.Client) (answer, error) {
				resp, err := c.UserRevokeRole(ctx, args[0], args[1])
				return answer{(*pb.AuthUserRevokeRoleResponse)(resp), fmt.Sprintf("Role %s is revoked from user %s", args[1], args[0])}, err
			})
		},
	}
}
