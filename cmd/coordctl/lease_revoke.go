package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newLeaseRevokeCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke <leaseID>",
		Short:   "End a lease now and delete its keys",
		Example: `  coordctl lease revoke 694d7c1cbd2c8a0a`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, revokeResult{})
			if err != nil {
				return err
			}
			id, err := leaseArgument(cmd, args)
			if err != nil {
				return err
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.Revoke(ctx, id)
				if err != nil {
					return fmt.Errorf("failed to revoke lease (%w)", clientv3.ContextError(ctx, err))
				}
				return p.print(revokeResult{(*pb.LeaseRevokeResponse)(resp), id})
			})
		},
	}
}

type revokeResult struct {
	*pb.LeaseRevokeResponse
	id clientv3.LeaseID
}

func (r revokeResult) simple(t *text) { t.linef("lease %016x revoked", int64(r.id)) }
func (r revokeResult) fields(t *text) { t.header(r.GetHeader()) }
func (r revokeResult) value(bool) any { return r.LeaseRevokeResponse }
