package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newOptionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:         "options",
		Short:       "Print the global flags, which every command takes",
		Example:     `  coordctl options`,
		Annotations: map[string]string{offline: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "The following options can be passed to any command:\n\n%s", cmd.Root().PersistentFlags().FlagUsages())
			return err
		},
	}
}
