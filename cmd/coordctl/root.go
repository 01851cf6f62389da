package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

const (
	groupKV      = "kv"
	groupCluster = "cluster"
	groupCoord   = "coordination"
	groupAuth    = "auth"
	groupOther   = "other"
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
			return s.prepare(cmd, os.Environ())
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{command: cmd.CommandPath(), err: err}
	})
	s.bind(root.PersistentFlags())
	completeFlag(root, "write-out", formats...)
	addGroup(root, groupKV, "Keys and leases:",
		newGetCommand(s), newPutCommand(s), newDelCommand(s), newTxnCommand(s),
		newWatchCommand(s), newLeaseCommand(s), newCompactionCommand(s))
	addGroup(root, groupCluster, "Cluster:",
		newEndpointCommand(s), newMemberCommand(s), newMoveLeaderCommand(s), newAlarmCommand(s),
		newDefragCommand(s), newDowngradeCommand(s), newSnapshotCommand(s), newDebugCommand(s))
	addGroup(root, groupCoord, "Coordination:",
		newLockCommand(s), newElectCommand(s), newRunCommand(s), newSemaphoreCommand(s), newBarrierCommand(s), newLatchCommand(s),
		newLocksCommand(s), newEpochCommand(s))
	addGroup(root, groupAuth, "Users and roles:", newAuthCommand(s), newUserCommand(s), newRoleCommand(s))
	addGroup(root, groupOther, "Other:",
		newMakeMirrorCommand(s), newCheckCommand(s), newOptionsCommand(), newCompletionCommand(), newVersionCommand(s))
	root.SetHelpCommandGroupID(groupOther)
	return root
}

func addGroup(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// completeFlag lists the values of a flag for the shell's completion.
func completeFlag(cmd *cobra.Command, flag string, values ...string) {
	completeFlagWith(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// completeFlagWith lets f list the values of a flag for the shell's completion.
func completeFlagWith(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(fmt.Sprintf("coordctl: completion of --%s: %v", flag, err))
	}
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
