package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newUserGetCommand(s *session) *cobra.Command {
	var detail bool
	cmd := &cobra.Command{
		Use:   "get <user name>",
		Short: "Show a user's roles",
		Example: `  coordctl user get alice
  coordctl user get alice --detail          # with what the roles permit`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, userResult{})
			if err != nil {
				return err
			}
			if len(args) != 1 {
				return badArguments("user get needs a user name; it has %d arguments", len(args))
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.UserGet(ctx, args[0])
				if err != nil {
					return err
				}
				user := userResult{(*pb.AuthUserGetResponse)(resp), args[0]}
				if detail {
					return printUserDetail(ctx, c, p, user)
				}
				return p.print(user)
			})
		},
	}
	cmd.Flags().BoolVar(&detail, "detail", false, "show what each of the roles permits")
	return cmd
}

// printUserDetail prints an answer for each role, as etcdctl does. Only simple output names the user before them.
func printUserDetail(ctx context.Context, c *clientv3.Client, p *printer, user userResult) error {
	heading := &text{}
	heading.linef("User: %s", user.name)
	for _, role := range user.GetRoles() {
		resp, err := c.RoleGet(ctx, role)
		if err != nil {
			return err
		}
		if p.format == "simple" {
			heading.line("")
			if _, err := heading.WriteTo(p.out); err != nil {
				return err
			}
		}
		if err := p.print(roleResult{(*pb.AuthRoleGetResponse)(resp), role}); err != nil {
			return err
		}
	}
	if p.format != "simple" {
		return nil
	}
	_, err := heading.WriteTo(p.out) // where there is no role
	return err
}

type userResult struct {
	*pb.AuthUserGetResponse
	name string
}

func (r userResult) simple(t *text) {
	t.linef("User: %s", r.name)
	t.line(strings.Join(append([]string{"Roles:"}, r.GetRoles()...), " "))
}

func (r userResult) fields(t *text) {
	t.header(r.GetHeader())
	t.quoted("User", r.name)
	t.names("Roles", r.GetRoles())
}

func (r userResult) value(bool) any { return r.AuthUserGetResponse }
