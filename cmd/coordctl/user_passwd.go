package main

import (
	"context"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newUserPasswdCommand(s *session) *cobra.Command {
	var interactive bool
	cmd := &cobra.Command{
		Use:   "passwd <user name>",
		Short: "Change a user's password",
		Example: `  coordctl user passwd alice
  pwgen 20 1 | coordctl user passwd deploy --interactive=false`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var password string
			if len(args) == 1 {
				var err error
				if password, err = newPassword(cmd, args[0], interactive); err != nil {
					return err
				}
			}
			return s.change(cmd, args, 1, "a user name", func(ctx context.Context, c *clientv3.Client) (answer, error) {
				resp, err := c.UserChangePassword(ctx, args[0], password)
				return answer{(*pb.AuthUserChangePasswordResponse)(resp), "Password updated"}, err
			})
		},
	}
	cmd.Flags().BoolVar(&interactive, "interactive", true, "ask for the password and its confirmation; false reads it from standard input, once")
	return cmd
}
