package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

func newLeaseTimeToLiveCommand(s *session) *cobra.Command {
	var keys bool
	cmd := &cobra.Command{
		Use:     "timetolive <leaseID>",
		Short:   "Show how long a lease has left",
		Example: `  coordctl lease timetolive --keys 694d7c1cbd2c8a0a`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, timeToLiveResult{})
			if err != nil {
				return err
			}
			id, err := leaseArgument(cmd, args)
			if err != nil {
				return err
			}
			var opts []clientv3.LeaseOption
			if keys {
				opts = append(opts, clientv3.WithAttachedKeys())
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.TimeToLive(ctx, id, opts...)
				if err != nil {
					return withCode(exitBadConnection, clientv3.ContextError(ctx, err))
				}
				return p.print(timeToLiveResult{resp, keys})
			})
		},
	}
	cmd.Flags().BoolVar(&keys, "keys", false, "also show the keys that live with the lease")
	return cmd
}

type timeToLiveResult struct {
	*clientv3.LeaseTimeToLiveResponse
	withKeys bool
}

func (r timeToLiveResult) simple(t *text) {
	if r.GrantedTTL == 0 && r.TTL == -1 {
		t.linef("lease %016x already expired", int64(r.ID))
		return
	}
	fmt.Fprintf(t, "lease %016x granted with TTL(%ds), remaining(%ds)", int64(r.ID), r.GrantedTTL, r.TTL)
	if r.withKeys {
		fmt.Fprintf(t, ", attached keys(%s)", r.Keys)
	}
	t.line("")
}

func (r timeToLiveResult) fields(t *text) {
	t.header(r.ResponseHeader)
	t.field("ID", t.leaseID(int64(r.ID)))
	t.field("TTL", r.TTL)
	t.field("GrantedTTL", r.GrantedTTL)
	for _, key := range r.Keys {
		t.quoted("Key", string(key))
	}
}

func (r timeToLiveResult) value(bool) any { return r.LeaseTimeToLiveResponse }

func (r timeToLiveResult) message() proto.Message {
	return &pb.LeaseTimeToLiveResponse{Header: r.ResponseHeader, ID: int64(r.ID), TTL: r.TTL, GrantedTTL: r.GrantedTTL, Keys: r.Keys}
}

func (r timeToLiveResult) table(t *text) (header []string, rows [][]string) {
	header = []string{"lease", "granted ttl", "remaining"}
	row := []string{fmt.Sprintf("%016x", int64(r.ID)), strconv.FormatInt(r.GrantedTTL, 10), strconv.FormatInt(r.TTL, 10)}
	if r.withKeys {
		header = append(header, "keys")
		cells := make([]string, len(r.Keys))
		for i, key := range r.Keys {
			cells[i] = t.cell(key)
		}
		row = append(row, strings.Join(cells, ", "))
	}
	return header, [][]string{row}
}
