package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/locksmith/slots"
)

func newSetMaxCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "set-max N",
		Short: "Set how many machines may hold a slot at the same time",
		Long: fmt.Sprintf(`set-max sets how many machines may hold a slot at the same time, 0 to %d. 0 stops all
reboots. Machines that hold a slot keep it when the limit falls below their number.`, slots.MaxSlots),
		Example: `  locksmithctl set-max 2
  locksmithctl -group web set-max 0`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &failure{text: "New maximum value must be set."}
			}
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 0 || n > slots.MaxSlots {
				return &failure{text: "Invalid maximum value: " + args[0]}
			}
			return s.withGroup(cmd, "setting maximum value", func(ctx context.Context, g *slots.Group) error {
				old, err := setMax(ctx, g, n, s.dryRun)
				if err != nil {
					return err
				}
				if s.json() {
					return printJSON(cmd.OutOrStdout(), map[string]int{"old_max": old, "max": n})
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "Old-Max: %d\nMax: %d\n", old, n)
				return err
			})
		},
	}
}

// setMax returns the limit that was, and only that with dryRun.
func setMax(ctx context.Context, g *slots.Group, n int, dryRun bool) (old int, err error) {
	if dryRun {
		p, err := g.Policy(ctx)
		return p.MaxOr(slots.DefaultMax), err
	}
	return g.SetMax(ctx, n)
}
