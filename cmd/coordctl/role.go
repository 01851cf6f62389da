package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newRoleCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "role",
		Short: "Roles and which keys they permit to read and write",
		Example: `  coordctl role add readers
  coordctl role grant-permission --prefix readers read /config/
  coordctl role get readers`,
	},
		newRoleAddCommand(s), newRoleDeleteCommand(s), newRoleGetCommand(s), newRoleListCommand(s),
		newRoleGrantPermissionCommand(s), newRoleRevokePermissionCommand(s))
}

func newRoleAddCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "add <role name>",
		Short:   "Add a role, which permits nothing yet",
		Example: `  coordctl role add readers`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.change(cmd, args, 1, "a role name", func(ctx context.Context, c *clientv3.Client) (answer, error) {
				resp, err := c.RoleAdd(ctx, args[0])
				return answer{(*pb.AuthRoleAddResponse)(resp), fmt.Sprintf("Role %s created", args[0])}, err
			})
		},
	}
}

func newRoleDeleteCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "delete <role name>",
		Short:   "Delete a role, also from the users who have it",
		Example: `  coordctl role delete readers`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.change(cmd, args, 1, "a role name", func(ctx context.Context, c *clientv3.Client) (answer, error) {
				resp, err := c.RoleDelete(ctx, args[0])
				return answer{(*pb.AuthRoleDeleteResponse)(resp), fmt.Sprintf("Role %s deleted", args[0])}, err
			})
		},
	}
}
