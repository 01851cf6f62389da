package main

import (
	"context"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newUserCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "user",
		Short: "Users and which roles they have",
		Example: `  coordctl user add alice
  coordctl role add readers
  coordctl role grant-permission --prefix readers read /config/
  coordctl user grant-role alice readers`,
	},
		newUserAddCommand(s), newUserDeleteCommand(s), newUserGetCommand(s), newUserListCommand(s),
		newUserPasswdCommand(s), newUserGrantRoleCommand(s), newUserRevokeRoleCommand(s))
}

// change runs a command that takes want arguments and answers with a line. what names the arguments to the user.
func (s *session) change(cmd *cobra.Command, args []string, want int, what string, do func(context.Context, *clientv3.Client) (answer, error)) error {
	p, err := s.printer(cmd, answer{})
	if err != nil {
		return err
	}
	if len(args) != want {
		return badArguments("%s needs %s; it has %d arguments", cmd.CommandPath(), what, len(args))
	}
	return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
		a, err := do(ctx, c)
		if err != nil {
			return err
		}
		return p.print(a)
	})
}
