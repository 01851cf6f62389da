package main

import (
	"fmt"

	"github.com/coordd/coordd/coordd/restore"
	"github.com/spf13/cobra"
)

func newSnapshotRestoreCommand() *cobra.Command {
	var (
		cfg           restore.Config
		markCompacted bool
		mapBytes      uint64
	)
	cmd := &cobra.Command{
		Annotations: map[string]string{offline: "yes"},
		Use:         "restore <filename> --data-dir DIR",
		Short:       "Make a data directory of a backup",
		Long: `Make the data directory of one member of a new cluster from a backup of coordd or of etcd 3.5 to 3.7.

Keys with their history, leases, users, roles and alarms are those of the backup; the members and the cluster's ID
come from the flags, which are those that coordd is started with then. For a cluster of several members run it once
for each, with the same file, --initial-cluster and --initial-cluster-token. Give another token than the old cluster
had, so that members of the old and the new one do not take each other for their own.

Clients that go on with the restored cluster may have seen revisions later than the backup's. --bump-revision, with
more than can have been missed, and --mark-compacted keep revisions from going back and end their watches. The new
cluster raises the epoch of fencing tokens before it takes any write: see coordctl epoch.`,
		Example: `  coordctl snapshot restore backup.db --data-dir /var/lib/coordd
  coordctl snapshot restore backup.db --data-dir /var/lib/coordd --name a --initial-cluster-token restored \
    --initial-advertise-peer-urls http://10.0.0.1:2380 \
    --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380
  coordctl snapshot restore backup.db --data-dir /var/lib/coordd --bump-revision 1000000000 --mark-compacted`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := oneFile(cmd, args)
			if err != nil {
				return err
			}
			if markCompacted != (cfg.BumpRevision > 0) {
				return badArguments("--bump-revision above 0 and --mark-compacted go together: give both, or neither")
			}
			cfg.Snapshot = path
			if cfg.DataDir == "" {
				cfg.DataDir = cfg.Name + ".coordd"
			}
			if cfg.InitialCluster == "" {
				cfg.InitialCluster = alone(cfg.Name, cfg.InitialAdvertisePeerURLs)
			}
			if err := restore.Restore(cfg); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "Restored %s to %s, as member %s\n", path, cfg.DataDir, cfg.Name)
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&cfg.Name, "name", "default", "the member's name")
	fs.StringVar(&cfg.DataDir, "data-dir", "", "directory to make, which must be empty or missing (default NAME.coordd)")
	fs.StringVar(&cfg.WALDir, "wal-dir", "", "directory to make for the log, if it is to be elsewhere")
	fs.StringVar(&cfg.InitialCluster, "initial-cluster", "", "members of the new cluster, name=url,name=url,… (default this member alone)")
	fs.StringVar(&cfg.InitialClusterToken, "initial-cluster-token", "etcd-cluster", "token that keeps clusters with equal addresses apart")
	fs.StringSliceVar(&cfg.InitialAdvertisePeerURLs, "initial-advertise-peer-urls", []string{"http://127.0.0.1:2380"}, "where the other members reach this one")
	fs.BoolVar(&cfg.SkipHashCheck, "skip-hash-check", false, "take a file without a checksum, as a copy of a stopped member's store, or with a wrong one")
	fs.Uint64Var(&cfg.BumpRevision, "bump-revision", 0, "move the revision up by so much")
	fs.BoolVar(&markCompacted, "mark-compacted", false, "mark all before the new revision as compacted; goes with --bump-revision")
	fs.Uint64Var(&mapBytes, "initial-memory-map-size", 0, "taken as etcdutl takes it, without effect: coordd maps what it needs")
	return cmd
}

// alone is the --initial-cluster of one member.
func alone(name string, urls []string) string {
	list := ""
	for _, u := range urls {
		if list != "" {
			list += ","
		}
		list += name + "=" + u
	}
	return list
}
