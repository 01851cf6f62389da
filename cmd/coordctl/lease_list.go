package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

func newLeaseListCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the leases that live",
		Example: `  coordctl lease list`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, leasesResult{})
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.Leases(ctx)
				if err != nil {
					return withCode(exitBadConnection, clientv3.ContextError(ctx, err))
				}
				return p.print(leasesResult{resp})
			})
		},
	}
}

type leasesResult struct{ *clientv3.LeaseLeasesResponse }

func (r leasesResult) simple(t *text) {
	t.linef("found %d leases", len(r.Leases))
	for _, l := range r.Leases {
		t.linef("%016x", int64(l.ID))
	}
}

func (r leasesResult) fields(t *text) {
	t.header(r.ResponseHeader)
	for _, l := range r.Leases {
		t.field("ID", t.leaseID(int64(l.ID)))
	}
}

func (r leasesResult) value(bool) any { return r.LeaseLeasesResponse }

func (r leasesResult) message() proto.Message {
	leases := make([]*pb.LeaseStatus, len(r.Leases))
	for i, l := range r.Leases {
		leases[i] = &pb.LeaseStatus{ID: int64(l.ID)}
	}
	return &pb.LeaseLeasesResponse{Header: r.ResponseHeader, Leases: leases}
}

func (r leasesResult) table(*text) (header []string, rows [][]string) {
	for _, l := range r.Leases {
		rows = append(rows, []string{fmt.Sprintf("%016x", int64(l.ID))})
	}
	return []string{"lease"}, rows
}
