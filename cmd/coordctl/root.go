package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

const (
	groupKV      = "kv"
	groupCluster = "cluster"
)

func newRootCommand() *cobra.Command {
	s := new(session)
	root := &cobra.Command{
		Use:   "coordctl",
		Short: "Command line client for coordd and etcd",
		Long: `coordctl talks to a coordd or etcd cluster.

Every global flag can also be set in the environment: --dial-timeout is COORDCTL_DIAL_TIMEOUT
or ETCDCTL_DIAL_TIMEOUT. The flag wins over COORDCTL_*, which wins over ETCDCTL_*.`,
		Example: `  coordctl put greeting hello
  coordctl get greeting
  coordctl --endpoints 10.0.0.1:2379,10.0.0.2:2379 endpoint status -w table`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return s.readEnvironment(cmd, os.Environ())
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{command: cmd.CommandPath(), err: err}
	})
	s.bind(root.PersistentFlags())
	root.AddGroup(
		&cobra.Group{ID: groupKV, Title: "Keys and leases:"},
		&cobra.Group{ID: groupCluster, Title: "Cluster:"},
	)
	for _, c := range []*cobra.Command{
		newGetCommand(s), newPutCommand(s), newDelCommand(s), newTxnCommand(s),
		newWatchCommand(s), newLeaseCommand(s), newCompactionCommand(s),
	} {
		c.GroupID = groupKV
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{newEndpointCommand(s), newMemberCommand(s), newSnapshotCommand(s), newDebugCommand(s)} {
		c.GroupID = groupCluster
		root.AddCommand(c)
	}
	root.AddCommand(newVersionCommand(s))
	return root
}

// parent turns c into a command that only holds others: alone it prints its help, and an unknown name is an error.
func parent(c *cobra.Command, children ...*cobra.Command) *cobra.Command {
	c.AddCommand(children...)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return &usageError{command: cmd.CommandPath(), err: fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())}
		}
		return cmd.Help()
	}
	return c
}

// noArguments refuses arguments that a command would not look at.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return badArguments("%s takes no arguments, but got %q", cmd.CommandPath(), args)
	}
	return nil
}
