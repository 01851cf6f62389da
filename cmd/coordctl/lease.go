package main

import (
	"strconv"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newLeaseCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "lease",
		Short: "Leases: keys that vanish when nobody renews them",
		Example: `  coordctl lease grant 60
  coordctl put --lease 694d7c1cbd2c8a0a /services/web/1 10.0.0.7:8080
  coordctl lease keep-alive 694d7c1cbd2c8a0a`,
	},
		newLeaseGrantCommand(s), newLeaseRevokeCommand(s), newLeaseTimeToLiveCommand(s),
		newLeaseListCommand(s), newLeaseKeepAliveCommand(s))
}

// leaseArgument reads the only argument of a lease command.
func leaseArgument(cmd *cobra.Command, args []string) (clientv3.LeaseID, error) {
	if len(args) != 1 {
		return 0, badArguments("lease %s needs a lease ID; it has %d arguments", cmd.Name(), len(args))
	}
	return parseLeaseID(args[0])
}

// parseLeaseID reads a lease ID as every output but JSON shows it.
func parseLeaseID(s string) (clientv3.LeaseID, error) {
	id, err := strconv.ParseInt(s, 16, 64)
	if err != nil {
		return 0, badArguments("bad lease ID %q: it is a hexadecimal number, as `coordctl lease list` prints it", s)
	}
	return clientv3.LeaseID(id), nil
}
