package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newUserAddCommand(s *session) *cobra.Command {
	var u newUser
	cmd := &cobra.Command{
		Use:   "add <user name or user:password>",
		Short: "Add a user",
		Long: `Add a user. It asks for the password, twice, unless it is in the argument or in --new-user-password, where other
users of the machine can see it.`,
		Example: `  coordctl user add alice
  pwgen 20 1 | coordctl user add deploy --interactive=false
  coordctl user add host7.example.com --no-password   # to be known by the name in its certificate`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := u.complete(cmd, args); err != nil {
				return err
			}
			return s.change(cmd, args, 1, "a user name", func(ctx context.Context, c *clientv3.Client) (answer, error) {
				resp, err := c.UserAddWithOptions(ctx, u.name, u.password, &clientv3.UserAddOptions{NoPassword: u.noPassword})
				return answer{(*pb.AuthUserAddResponse)(resp), fmt.Sprintf("User %s created", u.name)}, err
			})
		},
	}
	cmd.Flags().BoolVar(&u.interactive, "interactive", true, "ask for the password and its confirmation; false reads it from standard input, once")
	cmd.Flags().StringVar(&u.password, "new-user-password", "", "the password")
	cmd.Flags().BoolVar(&u.noPassword, "no-password", false, "a user without a password, known by the common name of its TLS certificate")
	return cmd
}

// newUser is a user to add.
type newUser struct {
	name, password          string
	interactive, noPassword bool
}

// complete finds the name and the password. With a wrong number of arguments, which is for others to tell, it does not.
func (u *newUser) complete(cmd *cobra.Command, args []string) (err error) {
	if len(args) != 1 {
		return nil
	}
	u.name = args[0]
	if u.noPassword {
		u.password = ""
		return nil
	}
	if u.password != "" {
		return nil
	}
	if name, password, ok := strings.Cut(u.name, ":"); ok {
		if name == "" {
			return badArguments("empty user name is not allowed")
		}
		u.name, u.password = name, password
		return nil
	}
	u.password, err = newPassword(cmd, u.name, u.interactive)
	return err
}

func newPassword(cmd *cobra.Command, user string, interactive bool) (string, error) {
	if interactive {
		return askNewPassword(cmd, user)
	}
	password, err := readPassword(cmd.InOrStdin())
	if err != nil {
		return "", badArguments("password of user %q on standard input: %w", user, err)
	}
	return password, nil
}
