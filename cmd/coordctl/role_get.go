package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newRoleGetCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "get <role name>",
		Short:   "Show what a role permits",
		Example: `  coordctl role get readers`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, roleResult{})
			if err != nil {
				return err
			}
			if len(args) != 1 {
				return badArguments("role get needs a role name; it has %d arguments", len(args))
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.RoleGet(ctx, args[0])
				if err != nil {
					return err
				}
				return p.print(roleResult{(*pb.AuthRoleGetResponse)(resp), args[0]})
			})
		},
	}
}

type roleResult struct {
	*pb.AuthRoleGetResponse
	name string
}

func (r roleResult) simple(t *text) {
	t.linef("Role %s", r.name)
	permissions := r.GetPerm()
	if r.name == "root" && permissions == nil { // it may do everything, and says so nowhere
		permissions = []*authpb.Permission{{PermType: authpb.Permission_READWRITE, RangeEnd: []byte(openEnd)}}
	}
	t.line("KV Read:")
	permissionLines(t, permissions, authpb.Permission_READ)
	t.line("KV Write:")
	permissionLines(t, permissions, authpb.Permission_WRITE)
}

// openEnd is the end of a range that holds all keys from its first one on.
const openEnd = "\x00"

// permissionLines writes the permissions that include the kind.
func permissionLines(t *text, permissions []*authpb.Permission, kind authpb.Permission_Type) {
	for _, p := range permissions {
		if p.GetPermType() == kind || p.GetPermType() == authpb.Permission_READWRITE {
			t.line("\t" + permittedKeys(string(p.GetKey()), string(p.GetRangeEnd())))
		}
	}
}

func permittedKeys(key, end string) string {
	if end == "" {
		return key
	}
	keys := rangeOf(key, end)
	if key != "" && clientv3.GetPrefixRangeEnd(key) == end {
		keys += fmt.Sprintf(" (prefix %s)", key)
	}
	return keys
}

// rangeOf writes a range as etcdctl does.
func rangeOf(key, end string) string {
	if end == openEnd {
		return fmt.Sprintf("[%s, <open ended>", key)
	}
	return fmt.Sprintf("[%s, %s)", key, end)
}

func (r roleResult) fields(t *text) {
	t.header(r.GetHeader())
	for _, p := range r.GetPerm() {
		t.linef(`"PermType" :  %s`, p.GetPermType()) // two spaces, as etcdctl has it
		t.quoted("Key", string(p.GetKey()))
		t.quoted("RangeEnd", string(p.GetRangeEnd()))
	}
}

func (r roleResult) value(bool) any { return r.AuthRoleGetResponse }
