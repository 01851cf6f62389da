package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newAuthCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "auth",
		Short: "Demand users and passwords, or stop demanding them",
		Example: `  coordctl user add root
  coordctl auth enable
  coordctl --user root auth disable`,
	}, newAuthEnableCommand(s), newAuthDisableCommand(s), newAuthStatusCommand(s))
}

func newAuthEnableCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "enable",
		Short: "Demand users and passwords from now on",
		Long: `Demand users and passwords from now on. There must be a user root; the role root, which may do all, is made and
granted to it where it is missing.`,
		Example: `  coordctl user add root
  coordctl auth enable`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, statement{})
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.AuthEnable(ctx)
				if errors.Is(err, rpctypes.ErrRootRoleNotExist) {
					resp, err = enableWithRootRole(ctx, c)
				}
				if err != nil {
					return err
				}
				return p.print(statement{answer{(*pb.AuthEnableResponse)(resp), "Authentication Enabled"}})
			})
		},
	}
}

// enableWithRootRole gives the user root the role root first. The role may be there already, but not granted.
func enableWithRootRole(ctx context.Context, c *clientv3.Client) (*clientv3.AuthEnableResponse, error) {
	if _, err := c.RoleAdd(ctx, "root"); err != nil && !errors.Is(err, rpctypes.ErrRoleAlreadyExist) {
		return nil, err
	}
	if _, err := c.UserGrantRole(ctx, "root", "root"); err != nil {
		return nil, err
	}
	return c.AuthEnable(ctx)
}

func newAuthDisableCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "disable",
		Short:   "Let everyone do everything",
		Example: `  coordctl --user root auth disable`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, statement{})
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.AuthDisable(ctx)
				if err != nil {
					return err
				}
				return p.print(statement{answer{(*pb.AuthDisableResponse)(resp), "Authentication Disabled"}})
			})
		},
	}
}

func newAuthStatusCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show whether users and passwords are demanded",
		Example: `  coordctl auth status`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, authStatusResult{})
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.AuthStatus(ctx)
				if err != nil {
					return err
				}
				return p.print(authStatusResult{(*pb.AuthStatusResponse)(resp)})
			})
		},
	}
}

type authStatusResult struct{ *pb.AuthStatusResponse }

func (r authStatusResult) simple(t *text) {
	t.linef("Authentication Status: %t", r.GetEnabled())
	t.linef("AuthRevision: %d", r.GetAuthRevision())
}

func (r authStatusResult) fields(t *text) {
	t.header(r.GetHeader())
	t.field("Enabled", r.GetEnabled())
	t.field("AuthRevision", r.GetAuthRevision())
}

func (r authStatusResult) value(bool) any { return r.AuthStatusResponse }
