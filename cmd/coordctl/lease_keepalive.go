package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

func newLeaseKeepAliveCommand(s *session) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "keep-alive <leaseID>",
		Short: "Renew a lease until interrupted",
		Long:  "Renew a lease until interrupted, or until it has expired or is revoked. Being interrupted does not revoke it.",
		Example: `  coordctl lease keep-alive 694d7c1cbd2c8a0a
  coordctl lease keep-alive --once 694d7c1cbd2c8a0a`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, keepAliveResult{})
			if err != nil {
				return err
			}
			id, err := leaseArgument(cmd, args)
			if err != nil {
				return err
			}
			if !once {
				return s.keepAlive(cmd, p, id)
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.KeepAliveOnce(ctx, id)
				if err != nil {
					return withCode(exitBadConnection, clientv3.ContextError(ctx, err))
				}
				return p.print(keepAliveResult{resp})
			})
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "renew it once")
	return cmd
}

func (s *session) keepAlive(cmd *cobra.Command, p *printer, id clientv3.LeaseID) error {
	c, err := s.client(s.endpoints...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	renewals, err := c.KeepAlive(ctx, id)
	if err != nil {
		return withCode(exitBadConnection, err)
	}
	for resp := range renewals {
		if err := p.print(keepAliveResult{resp}); err != nil {
			return err
		}
	}
	if ctx.Err() == nil && p.format == "simple" {
		_, err = fmt.Fprintf(p.out, "lease %016x expired or revoked.\n", int64(id))
	}
	return err
}

type keepAliveResult struct {
	*clientv3.LeaseKeepAliveResponse
}

func (r keepAliveResult) simple(t *text) {
	t.linef("lease %016x keepalived with TTL(%d)", int64(r.ID), r.TTL)
}

func (r keepAliveResult) fields(t *text) {
	t.header(r.ResponseHeader)
	t.field("ID", t.leaseID(int64(r.ID)))
	t.field("TTL", r.TTL)
}

func (r keepAliveResult) value(bool) any { return r.LeaseKeepAliveResponse }

func (r keepAliveResult) message() proto.Message {
	return &pb.LeaseKeepAliveResponse{Header: r.ResponseHeader, ID: int64(r.ID), TTL: r.TTL}
}
