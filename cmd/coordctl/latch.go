package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/recipes"
)

func newLatchCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "latch",
		Short: "Wait until a number of operations were done",
		Long: `Wait until a number of operations were done, by whomever. What was done is a set of names, so that to say it twice
counts once. A latch stands, open or not, until it is deleted.

Exit codes:
  0    done, or open
  1    there is no latch of the name, or one with another count; the cluster refused or did not answer
  124  not all was done within --timeout, or coordctl was interrupted
  125  the session was lost
  128  wrong arguments`,
		Example: `  coordctl latch set index 2
  coordctl latch count-down index shard-a
  coordctl latch count-down index shard-b
  coordctl latch wait index --timeout 1h
  coordctl latch delete index`,
	}, newLatchSetCommand(s), newLatchCountDownCommand(s), newLatchCountCommand(s), newLatchWaitCommand(s), newLatchDeleteCommand(s))
}

func newLatchSetCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "set NAME COUNT",
		Short:   "Make a latch",
		Long:    `Make a latch for a number of operations. It changes nothing when the latch stands with that count.`,
		Example: `  coordctl latch set index 2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return badArguments("set needs a name and a count, but got %q", args)
			}
			count, err := strconv.Atoi(args[1])
			if err != nil || count < 1 || count > recipes.MaxLatchCount {
				return badArguments("count is %q: give 1 to %d", args[1], recipes.MaxLatchCount)
			}
			return s.atLatch(cmd, args, 2, func(ctx context.Context, l *recipes.Latch) error { return l.Set(ctx, count) })
		},
	}
}

func newLatchCountDownCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "count-down NAME OPERATION",
		Short:   "Say that an operation was done",
		Long:    `Say that an operation was done. After an error it may or may not be counted: say it again.`,
		Example: `  coordctl latch count-down index shard-a`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.atLatch(cmd, args, 2, func(ctx context.Context, l *recipes.Latch) error { return l.CountDown(ctx, args[1]) })
		},
		ValidArgsFunction: s.completeBelow(recipes.DefaultLatchPrefix),
	}
}

func newLatchDeleteCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a latch and all that was counted",
		Long:    `Delete a latch and all that was counted. Those who wait fail.`,
		Example: `  coordctl latch delete index`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.atLatch(cmd, args, 1, func(ctx context.Context, l *recipes.Latch) error { return l.Delete(ctx) })
		},
		ValidArgsFunction: s.completeBelow(recipes.DefaultLatchPrefix),
	}
}

func newLatchCountCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "count NAME",
		Short: "Show how many operations remain",
		Example: `  coordctl latch count index
  coordctl latch count index -w json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, remaining(0))
			if err != nil {
				return err
			}
			return s.atLatch(cmd, args, 1, func(ctx context.Context, l *recipes.Latch) error {
				n, err := l.Count(ctx)
				if err != nil {
					return err
				}
				return p.print(remaining(n))
			})
		},
		ValidArgsFunction: s.completeBelow(recipes.DefaultLatchPrefix),
	}
}

func newLatchWaitCommand(s *session) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait NAME",
		Short: "Wait until all operations were done",
		Example: `  coordctl latch wait index
  coordctl latch wait index --timeout 1h`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := validTimeout(cmd, timeout); err != nil {
				return err
			}
			return s.atBarrier(cmd, args, func(ctx context.Context, as *recipes.Session) error {
				ctx, cancel := withTimeout(ctx, timeout)
				defer cancel()
				return notInTime(ctx, recipes.NewLatch(as, args[0], nil).Wait(ctx), "not all of "+args[0]+" was done", timeout)
			})
		},
		ValidArgsFunction: s.completeBelow(recipes.DefaultLatchPrefix),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after so long (default wait)")
	return cmd
}

// atLatch runs f, which answers soon, with the latch that the first of so many arguments names.
func (s *session) atLatch(cmd *cobra.Command, args []string, arguments int, f func(context.Context, *recipes.Latch) error) error {
	if len(args) != arguments {
		return badArguments("%s: see its --help for its arguments; it got %q", cmd.CommandPath(), args)
	}
	return s.atBarrier(cmd, args[:1], func(ctx context.Context, as *recipes.Session) error {
		ctx, cancel := context.WithTimeout(ctx, s.commandTimeout)
		defer cancel()
		return f(ctx, recipes.NewLatch(as, args[0], nil))
	})
}

// remaining is how many operations of a latch are still to be done.
type remaining int

func (r remaining) simple(t *text) { t.linef("%d", int(r)) }
func (r remaining) fields(t *text) { t.field("Remaining", int(r)) }
func (r remaining) value(bool) any { return map[string]int{"remaining": int(r)} }
