package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/locksmith/slots"
)

func newHistoryCommand(s *session) *cobra.Command {
	var n int
	cluster := false
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Show what has happened to the slots of the group",
		Long: `history shows grants, reboots, returns, failures, unlocks and pauses, oldest first, each as
it was written in the same transaction as the change. The store keeps the last 1,000 of a
group.`,
		Example: `  locksmithctl history
  locksmithctl history -n 500 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withFleet(cmd, "reading the history", func(ctx context.Context, fleet *slots.Fleet) error {
				read := fleet.History
				if !cluster {
					g, err := fleet.Group(s.groupName())
					if err != nil {
						return err
					}
					read = g.History
				}
				events, err := read(ctx, n)
				if err != nil {
					return err
				}
				if s.json() {
					return printJSON(cmd.OutOrStdout(), events)
				}
				printEvents(cmd.OutOrStdout(), events)
				return nil
			})
		},
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 50, "how many events to show, the newest")
	cmd.Flags().BoolVar(&cluster, "cluster", false, "of all groups together: its pauses")
	return cmd
}

func printEvents(w io.Writer, events []slots.Event) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, e := range events {
		if i == 0 {
			fmt.Fprintln(t, "TIME\tEVENT\tMACHINE\tBY\tREASON")
		}
		name := e.Hostname
		if name == "" {
			name = e.ID
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", e.Time.Local().Format(time.DateTime), e.Kind, dash(name), dash(e.By), dash(e.Reason))
	}
	t.Flush()
}
