package main

import (
	"context"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newRoleListCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the roles",
		Example: `  coordctl role list`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, rolesResult{})
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.RoleList(ctx)
				if err != nil {
					return err
				}
				return p.print(rolesResult{(*pb.AuthRoleListResponse)(resp)})
			})
		},
	}
}

type rolesResult struct{ *pb.AuthRoleListResponse }

func (r rolesResult) simple(t *text) {
	for _, role := range r.GetRoles() {
		t.line(role)
	}
}

func (r rolesResult) fields(t *text) {
	t.header(r.GetHeader())
	t.names("Roles", r.GetRoles())
}

func (r rolesResult) value(bool) any { return r.AuthRoleListResponse }
