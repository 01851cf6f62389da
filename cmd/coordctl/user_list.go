package main

import (
	"context"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newUserListCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the users",
		Example: `  coordctl user list`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, usersResult{})
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.UserList(ctx)
				if err != nil {
					return err
				}
				return p.print(usersResult{(*pb.AuthUserListResponse)(resp)})
			})
		},
	}
}

type usersResult struct{ *pb.AuthUserListResponse }

func (r usersResult) simple(t *text) {
	for _, user := range r.GetUsers() {
		t.line(user)
	}
}

func (r usersResult) fields(t *text) {
	t.header(r.GetHeader())
	t.names("Users", r.GetUsers())
}

func (r usersResult) value(bool) any { return r.AuthUserListResponse }
