package main

import "github.com/spf13/cobra"

func newMemberCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:     "member",
		Short:   "The cluster's members",
		Example: `  coordctl member list -w table`,
	}, newMemberListCommand(s))
}
