package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
)

// barrierTTLSeconds is how long those who wait go on without an answer of the cluster.
const barrierTTLSeconds = 60

func newBarrierCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "barrier",
		Short: "Hold others at a barrier, or begin and end something together",
		Long: `Hold others at a barrier, or begin and end something together.

hold closes a barrier, release opens it, wait waits until it is open. It stays closed whoever lives: release it when
what the others wait for is done.

enter is of double barriers, which have names of their own: it waits until a number of parties have entered.

Exit codes:
  0    done, open, all are in
  1    the cluster refused or did not answer
  124  it was not open, or not all were in, within --timeout, or coordctl was interrupted; hold: it is closed already
  125  a party died or gave up before all were in, or the session was lost
  128  wrong arguments`,
		Example: `  coordctl barrier hold upgrade
  coordctl barrier wait upgrade --timeout 10m && start-service
  coordctl barrier release upgrade
  coordctl barrier enter step-1 --parties 3`,
	}, newBarrierHoldCommand(s), newBarrierReleaseCommand(s), newBarrierWaitCommand(s), newBarrierEnterCommand(s))
}

func newBarrierHoldCommand(s *session) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "hold NAME",
		Short: "Close a barrier",
		Long: `Close a barrier. It stays closed until coordctl barrier release. Exit code 124 if it is closed already: then somebody
else may be the one to release it.`,
		Example: `  coordctl barrier hold upgrade --reason "schema 42"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.atBarrier(cmd, args, func(ctx context.Context, as *recipes.Session) error {
				ctx, cancel := context.WithTimeout(ctx, s.commandTimeout)
				defer cancel()
				err := recipes.NewBarrier(as, args[0], &recipes.BarrierOptions{Reason: reason}).Hold(ctx)
				if errors.Is(err, recipes.ErrLocked) {
					return withCode(exitNotAcquired, fmt.Errorf("%s is closed already", args[0]))
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look who closed it")
	return cmd
}

func newBarrierReleaseCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "release NAME",
		Short:   "Open a barrier",
		Long:    `Open a barrier, whoever closed it. It does nothing when the barrier is open.`,
		Example: `  coordctl barrier release upgrade`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.atBarrier(cmd, args, func(ctx context.Context, as *recipes.Session) error {
				ctx, cancel := context.WithTimeout(ctx, s.commandTimeout)
				defer cancel()
				return recipes.NewBarrier(as, args[0], nil).Release(ctx)
			})
		},
	}
	cmd.ValidArgsFunction = s.completeBelow(recipes.DefaultBarrierPrefix)
	return cmd
}

func newBarrierWaitCommand(s *session) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait NAME",
		Short: "Wait until a barrier is open",
		Long: `Wait until a barrier is open. One that nobody has closed is open: close it before those who are to wait come. Exit code
0 says that it was open at a moment since the start, 124 that it was not within --timeout.`,
		Example: `  coordctl barrier wait upgrade
  coordctl barrier wait upgrade --timeout 10m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := validTimeout(cmd, timeout); err != nil {
				return err
			}
			return s.atBarrier(cmd, args, func(ctx context.Context, as *recipes.Session) error {
				ctx, cancel := withTimeout(ctx, timeout)
				defer cancel()
				return notInTime(ctx, recipes.NewBarrier(as, args[0], nil).Wait(ctx), args[0]+" was not open", timeout)
			})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after so long (default wait)")
	cmd.ValidArgsFunction = s.completeBelow(recipes.DefaultBarrierPrefix)
	return cmd
}

// atBarrier runs f, for the one name that the arguments are, with a session until interrupted.
func (s *session) atBarrier(cmd *cobra.Command, args []string, f func(context.Context, *recipes.Session) error) error {
	if len(args) != 1 {
		return badArguments("%s needs one name, but got %q", cmd.CommandPath(), args)
	}
	return s.holding(cmd, barrierTTLSeconds, func(_ *clientv3.Client, as *recipes.Session) error {
		ctx, stop := untilInterrupted(cmd.Context())
		defer stop()
		return barrierError(ctx, f(ctx, as))
	})
}

// barrierError gives errors at a barrier their exit codes.
func barrierError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return withCode(exitNotAcquired, errors.New("interrupted"))
	case errors.Is(err, recipes.ErrBarrierBroken) || errors.Is(err, recipes.ErrLost):
		return withCode(exitLost, err)
	}
	return invalidName(err)
}

// invalidName makes an error of a name one of the command line.
func invalidName(err error) error {
	if errors.Is(err, recipes.ErrInvalidName) {
		return badArguments("%w", err)
	}
	return err
}

func validTimeout(cmd *cobra.Command, timeout time.Duration) error {
	if cmd.Flags().Changed("timeout") && timeout <= 0 {
		return badArguments("--timeout is %v: give more than 0, or leave it out to wait", timeout)
	}
	return nil
}

// withTimeout is context.WithTimeout, and no limit for a timeout of 0.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

// notInTime is err, unless that is because the timeout of ctx has passed.
func notInTime(ctx context.Context, err error, what string, timeout time.Duration) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return withCode(exitNotAcquired, fmt.Errorf("%s within %v", what, timeout))
	}
	return err
}

// enterOptions are of a party of a double barrier.
type enterOptions struct {
	parties    int
	timeout    time.Duration
	ttlSeconds int64
	reason     string
}

func newBarrierEnterCommand(s *session) *cobra.Command {
	var o enterOptions
	cmd := &cobra.Command{
		Use:   "enter NAME --parties N [flags] [-- command [arg...]]",
		Short: "Wait until a number of parties have entered, run a command, wait until all have ended",
		Long: `Wait until a number of parties have entered, and print the round's generation, a number that is the same for all of
them and rises from round to round. A command runs then, and after it the party waits until all others have ended too;
the exit code is the command's. The command finds the barrier's name in COORDD_BARRIER and the generation in
COORDD_GENERATION, and gets the signals that coordctl gets; the generation is not printed. Without a command coordctl
ends, which counts as having left.

If a party dies or gives up before all are in, all of them fail with exit code 125, and whoever enters then begins a new
round. What happens after that breaks nothing.`,
		Example: `  coordctl barrier enter step-1 --parties 3 --timeout 5m
  coordctl barrier enter load-test --parties 10 -- run-load`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, generation(0))
			switch {
			case err != nil:
				return err
			case len(args) == 0:
				return badArguments("enter needs the name of a barrier")
			case o.parties < 1 || o.parties > recipes.MaxParties:
				return badArguments("enter needs --parties, 1 to %d", recipes.MaxParties)
			case o.ttlSeconds < 1 || o.ttlSeconds > recipes.MaxTTLSeconds:
				return badArguments("--ttl is %d: give 1 to %d seconds", o.ttlSeconds, recipes.MaxTTLSeconds)
			}
			if err := validTimeout(cmd, o.timeout); err != nil {
				return err
			}
			if len(args) > 1 {
				return s.enterAndRun(cmd, o, args[0], args[1:])
			}
			return s.enter(cmd, p, o, args[0])
		},
	}
	cmd.Flags().IntVar(&o.parties, "parties", 0, "how many there are, the same number for all of them")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "give up after so long, which breaks the round for all (default wait)")
	cmd.Flags().Int64Var(&o.ttlSeconds, "ttl", recipes.DefaultTTLSeconds, "seconds until a party that has crashed counts as gone")
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for those who look who is in")
	cmd.ValidArgsFunction = s.completeBelow(recipes.DefaultDoubleBarrierPrefix)
	return cmd
}

func (s *session) enter(cmd *cobra.Command, p *printer, o enterOptions, name string) error {
	return s.holding(cmd, o.ttlSeconds, func(_ *clientv3.Client, as *recipes.Session) error {
		round, err := o.enter(cmd.Context(), as, name)
		if err != nil {
			return err
		}
		return p.print(generation(round.Generation()))
	})
}

// enterAndRun leaves when the command has ended, and then waits for the others, also after a failure.
func (s *session) enterAndRun(cmd *cobra.Command, o enterOptions, name string, command []string) error {
	c := newRunChild(cmd, runOptions{}, command)
	if c.Err != nil {
		return cannotRun(c.Err) // before anybody waits for it
	}
	return s.holding(cmd, o.ttlSeconds, func(_ *clientv3.Client, as *recipes.Session) error {
		round, err := o.enter(cmd.Context(), as, name)
		if err != nil {
			return err
		}
		c.Env = append(os.Environ(), "COORDD_BARRIER="+name, fmt.Sprintf("COORDD_GENERATION=%d", round.Generation()))
		ran := cannotRun(c.runFreely(passedOn...))
		ctx, stop := untilInterrupted(cmd.Context())
		defer stop()
		return cmp.Or(ran, barrierError(ctx, round.Leave(ctx)))
	})
}

func (o *enterOptions) enter(ctx context.Context, as *recipes.Session, name string) (*recipes.Round, error) {
	ctx, stop := untilInterrupted(ctx)
	defer stop()
	waiting, cancel := withTimeout(ctx, o.timeout)
	defer cancel()
	round, err := recipes.NewDoubleBarrier(as, name, o.parties, &recipes.DoubleBarrierOptions{Reason: o.reason}).Enter(waiting)
	return round, barrierError(ctx, notInTime(waiting, err, "not all were in at "+name, o.timeout))
}

// generation is that of a round of a double barrier.
type generation int64

func (r generation) simple(t *text) { t.linef("%d", int64(r)) }
func (r generation) fields(t *text) { t.field("Generation", int64(r)) }
func (r generation) value(bool) any { return map[string]int64{"generation": int64(r)} }

// completeBelow completes the names that have keys below a prefix.
func (s *session) completeBelow(prefix string) cobra.CompletionFunc {
	return s.completeNames(func(ctx context.Context, kv clientv3.KV) (names []string, err error) {
		found, err := recipes.List(ctx, kv, prefix)
		for _, l := range found {
			names = append(names, l.Name)
		}
		return names, err
	})
}
