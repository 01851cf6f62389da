package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newCompactionCommand(s *session) *cobra.Command {
	var physical bool
	cmd := &cobra.Command{
		Use:   "compaction <revision>",
		Short: "Forget the history before a revision",
		Long:  "Forget what keys held before a revision. The newest value of every key stays.",
		Example: `  coordctl compaction 1200
  coordctl compaction --physical 1200`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, compactionResult{})
			if err != nil {
				return err
			}
			if len(args) != 1 {
				return badArguments("compaction needs a revision; it has %d arguments", len(args))
			}
			rev, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return err
			}
			var opts []clientv3.CompactOption
			if physical {
				opts = append(opts, clientv3.WithCompactPhysical())
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.Compact(ctx, rev, opts...)
				if err != nil {
					return clientv3.ContextError(ctx, err)
				}
				return p.print(compactionResult{(*pb.CompactionResponse)(resp), rev})
			})
		},
	}
	cmd.Flags().BoolVar(&physical, "physical", false, "return only when the old revisions are gone from the disk")
	return cmd
}

type compactionResult struct {
	*pb.CompactionResponse
	revision int64
}

func (r compactionResult) simple(t *text) { t.linef("compacted revision %d", r.revision) }
func (r compactionResult) fields(t *text) { t.header(r.GetHeader()) }
func (r compactionResult) value(bool) any { return r.CompactionResponse }
func (compactionResult) isSentence()      {}
