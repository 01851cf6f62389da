package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (e *endpointCommand) newHashKVCommand() *cobra.Command {
	var rev int64
	cmd := &cobra.Command{
		Use:   "hashkv",
		Short: "Show a hash of each member's keys and their history",
		Long: `Show a hash of each member's keys and their history. Members whose hashes differ at the same revision, after
the same compaction, do not hold the same data.`,
		Example: `  coordctl endpoint hashkv --cluster --rev 1200`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := e.printer(cmd, hashResult{})
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			var hashes hashResult
			failed, err := e.askEach(cmd, "hash", func(ctx context.Context, c *clientv3.Client, endpoint string) error {
				resp, err := c.HashKV(ctx, endpoint, rev)
				if err == nil {
					hashes = append(hashes, endpointHash{endpoint, (*pb.HashKVResponse)(resp)})
				}
				return err
			})
			if err != nil {
				return err
			}
			if err := p.print(hashes); err != nil {
				return err
			}
			if failed {
				return errReported
			}
			return nil
		},
	}
	cmd.Flags().Int64Var(&rev, "rev", 0, "last revision to hash; 0 means the newest")
	return cmd
}

type endpointHash struct {
	Endpoint string
	HashKV   *pb.HashKVResponse
}

type hashResult []endpointHash

func (r hashResult) simple(t *text) {
	_, rows := r.table(t)
	for _, row := range rows {
		t.line(strings.Join(row, ", "))
	}
}

func (r hashResult) fields(t *text) {
	for _, e := range r {
		t.header(e.HashKV.GetHeader())
		t.quoted("Endpoint", e.Endpoint)
		t.field("Hash", e.HashKV.GetHash())
		t.field("HashRevision", e.HashKV.GetHashRevision())
		t.line("")
	}
}

func (r hashResult) value(bool) any { return []endpointHash(r) }

func (r hashResult) table(*text) (header []string, rows [][]string) {
	for _, e := range r {
		rows = append(rows, []string{
			e.Endpoint,
			strconv.FormatUint(uint64(e.HashKV.GetHash()), 10),
			strconv.FormatInt(e.HashKV.GetHashRevision(), 10),
		})
	}
	return []string{"endpoint", "hash", "hash_revision"}, rows
}
