package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func newMemberCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "member",
		Short: "The cluster's members",
		Example: `  coordctl member list -w table
  coordctl member add n4 --peer-urls=http://10.0.0.4:2380 --learner
  coordctl member promote 8e9e05c52164694d`,
	},
		newMemberListCommand(s), newMemberAddCommand(s), newMemberRemoveCommand(s), newMemberUpdateCommand(s),
		newMemberPromoteCommand(s))
}

// memberArgument reads the only argument of a member command.
func memberArgument(cmd *cobra.Command, args []string) (uint64, error) {
	if len(args) != 1 {
		return 0, badArguments("%s needs a member ID; it has %d arguments", cmd.CommandPath(), len(args))
	}
	return parseMemberID(args[0])
}

func parseMemberID(s string) (uint64, error) {
	id, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, badArguments("bad member ID %q: it is a hexadecimal number, as `coordctl member list` prints it", s)
	}
	return id, nil
}

// peerURLs splits a --peer-urls flag.
func peerURLs(flag string) ([]string, error) {
	if flag == "" {
		return nil, badArguments("member peer urls not provided; add --peer-urls=http://HOST:2380")
	}
	return strings.Split(flag, ","), nil
}
