package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
)

func newEpochCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "epoch",
		Short: "Show or raise the epoch of fencing tokens",
		Long: `Show or raise the epoch of fencing tokens.

A lock's token carries the revision at which it was granted. A restore of a backup moves revisions back, and then an
old token could pass for a newer one; so tokens carry the epoch too, the value of the key ` + recipes.EpochKey + `, or 0.
coordd raises it by itself after coordctl snapshot restore and after --force-new-cluster. After etcdutl snapshot
restore, or where data were put back by other means, raise it by hand before clients come back.`,
		Example: `  coordctl epoch
  coordctl epoch bump`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.epoch(cmd, args, func(ctx context.Context, kv clientv3.KV) (uint64, error) {
				epoch, _, err := recipes.ReadEpoch(ctx, kv)
				return epoch, err
			})
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "bump",
		Short: "Raise the epoch and print it",
		Long: `Raise the epoch and print it. Holders of locks keep the tokens that they have, and tokens of two epochs are not
compared: let clients come back after it, or restart them.`,
		Example: `  etcdutl snapshot restore backup.db --data-dir /var/lib/etcd
  systemctl start etcd
  coordctl epoch bump`,
		RunE: func(cmd *cobra.Command, args []string) error { return s.epoch(cmd, args, recipes.BumpEpoch) },
	})
	return cmd
}

func (s *session) epoch(cmd *cobra.Command, args []string, f func(context.Context, clientv3.KV) (uint64, error)) error {
	if err := noArguments(cmd, args); err != nil {
		return err
	}
	p, err := s.printer(cmd, epochResult(0))
	if err != nil {
		return err
	}
	return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
		epoch, err := f(ctx, c)
		if err != nil {
			return err
		}
		return p.print(epochResult(epoch))
	})
}

// epochResult is the epoch of the store.
type epochResult uint64

func (r epochResult) simple(t *text) { t.line(strconv.FormatUint(uint64(r), 10)) }
func (r epochResult) fields(t *text) { t.field("Epoch", uint64(r)) }

func (r epochResult) value(bool) any {
	return struct {
		Epoch uint64 `json:"epoch"`
	}{uint64(r)}
}
