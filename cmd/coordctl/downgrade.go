package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newDowngradeCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "downgrade",
		Short: "Prepare the cluster for servers of the minor version before",
		Long: `Prepare the cluster for servers of the minor version before: validate whether that can be, enable it, replace
the servers one by one. It ends by itself when all have the target version, or is canceled.`,
		Example: `  coordctl downgrade validate 3.6
  coordctl downgrade enable 3.6
  coordctl downgrade cancel`,
	},
		newDowngradeTargetCommand(s, "validate", "Check whether the cluster could be downgraded to a version", clientv3.DowngradeValidate),
		newDowngradeTargetCommand(s, "enable", "Begin to downgrade the cluster to a version", clientv3.DowngradeEnable),
		newDowngradeCancelCommand(s))
}

func newDowngradeTargetCommand(s *session, name, short string, action clientv3.DowngradeAction) *cobra.Command {
	return &cobra.Command{
		Use:     name + " <TARGET_VERSION>",
		Short:   short,
		Example: fmt.Sprintf("  coordctl downgrade %s 3.6", name),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "" {
				return badArguments("the target version is empty")
			}
			return s.change(cmd, args, 1, "a target version", func(ctx context.Context, c *clientv3.Client) (answer, error) {
				return downgrade(ctx, c, action, name, args[0])
			})
		},
	}
}

func newDowngradeCancelCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "cancel",
		Short:   "Stop downgrading the cluster",
		Example: `  coordctl downgrade cancel`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			return s.change(cmd, args, 0, "", func(ctx context.Context, c *clientv3.Client) (answer, error) {
				return downgrade(ctx, c, clientv3.DowngradeCancel, "cancel", "")
			})
		},
	}
}

func downgrade(ctx context.Context, c *clientv3.Client, action clientv3.DowngradeAction, name, target string) (answer, error) {
	resp, err := c.Downgrade(ctx, action, target)
	r := (*pb.DowngradeResponse)(resp)
	return answer{r, fmt.Sprintf("Downgrade %s success, cluster version %s", name, r.GetVersion())}, err
}
