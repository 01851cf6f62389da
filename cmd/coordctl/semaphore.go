package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
)

func newSemaphoreCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "semaphore",
		Short: "Hold slots of a semaphore, show or set its limit",
		Long: `Hold slots of a semaphore, show or set its limit. A semaphore has a limit and lets in, in the order in which they came,
as many as that has room for. Its limit stands in the store; what is taken is what its holders have, so nothing leaks
when one crashes.`,
		Example: `  coordctl semaphore limit builders 4
  coordctl semaphore acquire builders -n 2 -- make -j2
  coordctl semaphore status builders`,
	}, newSemaphoreAcquireCommand(s), newSemaphoreLimitCommand(s), newSemaphoreStatusCommand(s))
}

func newSemaphoreAcquireCommand(s *session) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "acquire NAME [flags] [-- command [arg...]]",
		Short: "Hold slots of a semaphore while a command runs, or until interrupted",
		Long: `Hold slots of a semaphore while a command runs, or until interrupted. A command runs as with coordctl run: the same
environment, signals and exit codes, see coordctl run --help. Without one it prints its key and its fencing token once
it holds the slots.

Exit codes without a command:
  0    it was interrupted, or released with --yield
  1    the cluster refused or did not answer; the semaphore has no limit, or a lower one than -n
  124  the slots were not acquired within --timeout, or coordctl was interrupted before
  125  they were lost
  128  wrong arguments`,
		Example: `  coordctl semaphore acquire builders -n 2 --limit 4 -- make -j2
  coordctl semaphore acquire licences --timeout 0 -- simulate   # not at all if none is free
  coordctl semaphore acquire licences --reason "by hand"        # until Ctrl-C`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, holdResult{})
			switch {
			case err != nil:
				return err
			case len(args) == 0:
				return badArguments("acquire needs the name of a semaphore and, if something is to run, a command after --")
			case o.weight < 1 || o.weight > recipes.MaxLimit:
				return badArguments("-n is %d: give 1 to %d", o.weight, recipes.MaxLimit)
			case cmd.Flags().Changed("limit") && (o.limit < 1 || o.limit > recipes.MaxLimit):
				return badArguments("--limit is %d: give 1 to %d", o.limit, recipes.MaxLimit)
			}
			if err := o.validate(cmd); err != nil {
				return err
			}
			if o.lock = args[0]; len(args) > 1 {
				return s.run(cmd, o, args[1:])
			}
			return s.acquire(cmd, p, o)
		},
	}
	cmd.Flags().Int64VarP(&o.weight, "weight", "n", 1, "how many slots to take")
	cmd.Flags().Int64Var(&o.limit, "limit", 0, "the limit of a semaphore that has none yet")
	o.bind(cmd)
	cmd.ValidArgsFunction = s.completeHeld(func() string { return "semaphore" })
	return cmd
}

// acquire holds what the options name until interrupted.
func (s *session) acquire(cmd *cobra.Command, p *printer, o runOptions) error {
	return s.holding(cmd, o.ttlSeconds, func(_ *clientv3.Client, as *recipes.Session) error {
		ctx, stop := untilInterrupted(cmd.Context())
		defer stop()
		hold, err := o.acquire(ctx, as)
		if err != nil {
			return err
		}
		if err := p.print(newHoldResult(hold)); err != nil {
			return err
		}
		if err := awaitEnd(ctx, cmd.ErrOrStderr(), hold, o.yield); err != nil {
			return withCode(exitLost, err)
		}
		return nil
	})
}

func newSemaphoreLimitCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "limit NAME [LIMIT]",
		Short: "Show or set the limit of a semaphore",
		Long: `Show or set the limit of a semaphore. A higher limit lets those who wait in at once. A lower one takes nothing away:
nobody is let in until enough have left. With 0 nobody is.`,
		Example: `  coordctl semaphore limit builders
  coordctl semaphore limit builders 8`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, limitResult(0))
			if err != nil {
				return err
			}
			if len(args) != 1 && len(args) != 2 {
				return badArguments("limit needs the name of a semaphore, and to set it the limit, but got %q", args)
			}
			limit := int64(-1)
			if len(args) == 2 {
				if limit, err = strconv.ParseInt(args[1], 10, 64); err != nil || limit < 0 || limit > recipes.MaxLimit {
					return badArguments("limit is %q: give 0 to %d", args[1], recipes.MaxLimit)
				}
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				semaphore := recipes.NewSemaphore(recipes.AttachSession(ctx, c, clientv3.NoLease), args[0], nil)
				return showLimit(ctx, p, semaphore, limit)
			})
		},
	}
	cmd.ValidArgsFunction = s.completeHeld(func() string { return "semaphore" })
	return cmd
}

// showLimit prints a semaphore's limit, after setting it unless that is below 0.
func showLimit(ctx context.Context, p *printer, semaphore *recipes.Semaphore, limit int64) (err error) {
	if limit >= 0 {
		err = semaphore.SetLimit(ctx, limit)
	} else {
		limit, err = semaphore.Limit(ctx)
	}
	if err != nil {
		return invalidName(err)
	}
	return p.print(limitResult(limit))
}

// limitResult is a semaphore's limit.
type limitResult int64

func (r limitResult) simple(t *text) { t.line(fmt.Sprint(int64(r))) }
func (r limitResult) fields(t *text) { t.field("Limit", int64(r)) }

func (r limitResult) value(bool) any { return map[string]int64{"limit": int64(r)} }

func newSemaphoreStatusCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status NAME...",
		Short: "Show who holds slots of a semaphore, and who waits",
		Long:  `Show who holds slots of a semaphore, and who waits: coordctl locks --kind semaphore NAME.`,
		Example: `  coordctl semaphore status builders
  coordctl semaphore status builders -w json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, new(listings))
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return badArguments("status needs the name of a semaphore; coordctl locks --kind semaphore shows all")
			}
			return s.locks(cmd, p, placesQuery{kind: "semaphore", names: args})
		},
	}
	cmd.ValidArgsFunction = s.completeHeld(func() string { return "semaphore" })
	return cmd
}
