package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/coordd/coordd/locksmith/plan"
	"github.com/coordd/coordd/locksmith/slots"
)

func newWatchCommand(s *session) *cobra.Command {
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show the plan again whenever it changes",
		Long: `watch shows the plan, and shows it again whenever it has changed, until it is interrupted.
On a terminal it draws in place. With -o json each plan is one JSON value.`,
		Example: `  locksmithctl watch
  locksmithctl watch -o json | jq -c '.machines[] | [.hostname, .standing]'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval <= 0 {
				return &failure{text: fmt.Sprintf("--interval %v: it must be above 0.", interval)}
			}
			return s.connected(cmd, "watching", func(fleet *slots.Fleet) error {
				ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
				defer stop()
				return s.watch(ctx, cmd, fleet, interval)
			})
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time between two looks")
	return cmd
}

// clearScreen puts the cursor at the top of an empty terminal.
const clearScreen = "\x1b[H\x1b[2J"

func (s *session) watch(ctx context.Context, cmd *cobra.Command, fleet *slots.Fleet, interval time.Duration) error {
	out := cmd.OutOrStdout()
	file, ok := out.(*os.File)
	inPlace := ok && isatty.IsTerminal(file.Fd()) && !s.json()
	look := time.NewTicker(interval)
	defer look.Stop()
	var shown any
	for first := true; ; first = false {
		snapshot, err := s.look(ctx, fleet)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		machines := plan.Of(snapshot, s.groupName(), time.Now())
		seen := whatIsSeen(snapshot, s.groupName(), machines)
		if inPlace || first || !reflect.DeepEqual(seen, shown) {
			shown = seen
			if err := s.show(cmd, snapshot, machines, inPlace, first); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// whatIsSeen is what a plan shows.
func whatIsSeen(snapshot *slots.Snapshot, group string, machines []plan.Machine) any {
	var damaged []string
	for _, d := range snapshot.Damaged {
		damaged = append(damaged, d.Error())
	}
	return []any{*snapshot.Rules(group), machines, damaged}
}

func (s *session) look(ctx context.Context, fleet *slots.Fleet) (*slots.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, s.client.Timeout)
	defer cancel()
	return fleet.Snapshot(ctx)
}

func (s *session) show(cmd *cobra.Command, snapshot *slots.Snapshot, machines []plan.Machine, inPlace, first bool) error {
	out := cmd.OutOrStdout()
	switch {
	case s.json():
		return printJSON(out, planJSON(snapshot, s.groupName(), machines))
	case inPlace:
		fmt.Fprint(out, clearScreen)
	case !first:
		fmt.Fprintln(out)
	}
	return printPlan(out, snapshot, s.groupName(), machines, false)
}
