package main

import "github.com/spf13/cobra"

func newSnapshotCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "snapshot <command>",
		Short: "Save, look at and restore backups",
		Long: `Save, look at and restore backups.

A backup is the whole state at one moment: keys with their history, leases, users, roles. Those of coordd and of
etcd are one format: each can be restored into the other, here with restore, there with etcdutl.`,
		Example: `  coordctl --endpoints 10.0.0.1:2379 snapshot save backup.db
  coordctl snapshot status backup.db -w table
  coordctl snapshot restore backup.db --data-dir /var/lib/coordd`,
	}, newSnapshotSaveCommand(s), newSnapshotStatusCommand(s), newSnapshotRestoreCommand())
}

// oneFile returns the only argument, a file's name.
func oneFile(cmd *cobra.Command, args []string) (string, error) {
	if len(args) != 1 || args[0] == "" {
		return "", badArguments("%s needs exactly one argument, a file name, but got %q", cmd.CommandPath(), args)
	}
	return args[0], nil
}
