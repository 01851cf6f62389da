package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newRoleGrantPermissionCommand(s *session) *cobra.Command {
	var keys permission
	cmd := &cobra.Command{
		Use:   "grant-permission <role name> <permission type> <key> [endkey]",
		Short: "Permit a role to read, write or readwrite a key or a range of keys",
		Example: `  coordctl role grant-permission readers read /config/site
  coordctl role grant-permission --prefix readers read /config/
  coordctl role grant-permission writers readwrite a f   # a and all keys after it that come before f`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 3 && len(args) != 4 {
				return badArguments("role grant-permission needs a role name, a permission type and a key, and may have an end; it has %d arguments", len(args))
			}
			kind, err := clientv3.StrToPermissionType(args[1])
			if err != nil {
				return badArguments("permission type %q: it is read, write or readwrite", args[1])
			}
			key, end, err := keys.parse(args[2:])
			if err != nil {
				return err
			}
			return s.change(cmd, args, len(args), "", func(ctx context.Context, c *clientv3.Client) (answer, error) {
				resp, err := c.RoleGrantPermission(ctx, args[0], key, end, kind)
				return answer{(*pb.AuthRoleGrantPermissionResponse)(resp), fmt.Sprintf("Role %s updated", args[0])}, err
			})
		},
	}
	keys.bind(cmd)
	return cmd
}

func newRoleRevokePermissionCommand(s *session) *cobra.Command {
	var keys permission
	cmd := &cobra.Command{
		Use:   "revoke-permission <role name> <key> [endkey]",
		Short: "Take a permission from a role",
		Long:  "Take a permission from a role. The keys must be exactly those of one that it has: part of a range cannot be taken out.",
		Example: `  coordctl role revoke-permission readers /config/site
  coordctl role revoke-permission --prefix readers /config/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 && len(args) != 3 {
				return badArguments("role revoke-permission needs a role name and a key, and may have an end; it has %d arguments", len(args))
			}
			key, end, err := keys.parse(args[1:])
			if err != nil {
				return err
			}
			return s.change(cmd, args, len(args), "", func(ctx context.Context, c *clientv3.Client) (answer, error) {
				resp, err := c.RoleRevokePermission(ctx, args[0], key, end)
				return answer{(*pb.AuthRoleRevokePermissionResponse)(resp), revoked(args[1], end, args[0])}, err
			})
		},
	}
	keys.bind(cmd)
	return cmd
}

func revoked(key, end, role string) string {
	if end == "" {
		return fmt.Sprintf("Permission of key %s is revoked from role %s", key, role)
	}
	return fmt.Sprintf("Permission of range %s is revoked from role %s", rangeOf(key, end), role)
}

// permission is what the flags of a role command say about the keys it is for.
type permission struct{ keyRange }

func (p *permission) bind(cmd *cobra.Command) {
	p.bindPrefix(cmd.Flags())
	p.bindFromKey(cmd.Flags())
}

// parse returns the bounds of the keys as a permission holds them: the first key of all is "\x00", and an open end too.
func (p *permission) parse(args []string) (key, end string, err error) {
	switch key = args[0]; {
	case p.prefix && p.fromKey:
		return "", "", badArguments("--from-key and --prefix flags are mutually exclusive")
	case len(args) == 2 && (p.prefix || p.fromKey):
		return "", "", badArguments("unexpected endkey argument with --prefix or --from-key")
	case len(args) == 2:
		end = args[1]
	case p.prefix && key != "":
		end = clientv3.GetPrefixRangeEnd(key)
	case p.prefix || p.fromKey:
		end = openEnd
	}
	if key == "" {
		key = openEnd
	}
	return key, end, nil
}
