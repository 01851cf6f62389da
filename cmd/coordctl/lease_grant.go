package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

func newLeaseGrantCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "grant <ttl>",
		Short:   "Make a lease that lives ttl seconds unless renewed",
		Example: `  coordctl lease grant 60`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, grantResult{})
			if err != nil {
				return err
			}
			if len(args) != 1 {
				return badArguments("lease grant needs the time to live in seconds; it has %d arguments", len(args))
			}
			ttlSeconds, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return badArguments("bad TTL %q: it is a whole number of seconds", args[0])
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.Grant(ctx, ttlSeconds)
				if err != nil {
					return fmt.Errorf("failed to grant lease (%w)", clientv3.ContextError(ctx, err))
				}
				return p.print(grantResult{resp})
			})
		},
	}
}

type grantResult struct{ *clientv3.LeaseGrantResponse }

func (r grantResult) simple(t *text) {
	t.linef("lease %016x granted with TTL(%ds)", int64(r.ID), r.TTL)
}

func (r grantResult) fields(t *text) {
	t.header(r.ResponseHeader)
	t.field("ID", t.leaseID(int64(r.ID)))
	t.field("TTL", r.TTL)
}

func (r grantResult) value(bool) any { return r.LeaseGrantResponse }

func (r grantResult) message() proto.Message {
	return &pb.LeaseGrantResponse{Header: r.ResponseHeader, ID: int64(r.ID), TTL: r.TTL, Error: r.Error}
}

func (r grantResult) table(*text) (header []string, rows [][]string) {
	return []string{"lease", "ttl"}, [][]string{{fmt.Sprintf("%016x", int64(r.ID)), strconv.FormatInt(r.TTL, 10)}}
}
