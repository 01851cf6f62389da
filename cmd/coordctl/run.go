package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
)

// Exit codes of run beside the command's own, as env and timeout have them.
const (
	exitNotAcquired = 124
	exitLost        = 125
	exitCannotRun   = 126
	exitNotFound    = 127
)

// runOptions say what a command runs under.
type runOptions struct {
	lock       string
	weight     int64 // above 0: lock names a semaphore, of which so much is taken
	limit      int64 // of a semaphore that has none yet
	shared     bool
	etcdLayout bool
	reason     string
	ttlSeconds int64
	killAfter  time.Duration // 0: a tenth of the TTL
	timeout    time.Duration // below 0: none
	yield      bool
}

func newRunCommand(s *session) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run --lock NAME [flags] -- command [arg...]",
		Short: "Run a command under a lock or in a slot of a semaphore",
		Long: `Run a command under a lock, or with -n in one of several slots. Locks are those of the recipes: fair, fenced, shown
by who holds them and why. The command finds in its environment

  COORDD_TOKEN          the fencing token, for whatever it writes to: see docs/RECIPES.md
  COORDD_LOCK           the name
  COORDD_LOCK_KEY       the holder's key in the store
  COORDD_LOCK_REVISION  the revision of the grant

The command is a process group of its own and gets the signals INT, TERM, HUP, QUIT, USR1 and USR2 that coordctl gets;
Ctrl-Z does nothing. From a terminal it cannot read: coordctl lock is for commands that do. The lock is given back when
the command and all that it has started in its group have ended.

If the cluster does not confirm the lock in time, the group gets TERM and, --kill-after later, KILL, in time before
another can have the lock. If the lock is taken away, it gets KILL at once. Processes that leave the group, as daemons
do, or that run as another user, are out of reach. If coordctl itself is killed, the kernel kills the command on Linux,
but not what that has started; if coordctl is stopped (SIGSTOP, a frozen machine), nobody can end the command in time.
What must not go wrong then has to check the token.

If somebody asks for the release (coordctl locks ask), coordctl says so on standard error, and with --yield the group
gets TERM.

Exit codes:
  the command's, or 128 and the number of the signal that ended it
  124  the lock was not acquired within --timeout, or coordctl was interrupted before
  125  the lock was lost, or about to be, and the command was ended
  126  the command cannot be run
  127  the command is not found
  1    the cluster refused or did not answer before the command ran, or did not confirm the release
  128  wrong arguments`,
		Example: `  coordctl run --lock nightly-backup -- /usr/local/bin/backup --full
  coordctl run --lock nightly-backup --timeout 0 -- backup   # not at all if it runs elsewhere
  coordctl run --lock builders -n 3 --reason "build 4711" -- make
  coordctl run --lock inventory --shared -- report`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validateRun(cmd, args); err != nil {
				return err
			}
			return s.run(cmd, o, args)
		},
	}
	cmd.Flags().SetInterspersed(false) // the command's flags are the command's
	cmd.Flags().StringVar(&o.lock, "lock", "", "name of the lock, or with -n of the semaphore")
	cmd.Flags().Int64VarP(&o.limit, "slots", "n", 0, "how many may run at a time: NAME is a semaphore, whose limit this is unless it has one already")
	cmd.Flags().BoolVar(&o.shared, "shared", false, "share the lock with others that share it")
	cmd.Flags().BoolVar(&o.etcdLayout, "etcd-layout", false, "take the lock that etcdctl lock, coordctl lock and etcd's library take")
	o.bind(cmd)
	completeFlagWith(cmd, "lock", s.completeHeld(func() string {
		if o.limit > 0 {
			return "semaphore"
		}
		return "lock"
	}))
	return cmd
}

// bind adds the flags of all that a command can run under.
func (o *runOptions) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.reason, "reason", "", "why, for those who look at who holds it (default the command)")
	fs.Int64Var(&o.ttlSeconds, "ttl", recipes.DefaultTTLSeconds, "seconds for which it stays taken when its holder has crashed")
	fs.DurationVar(&o.killAfter, "kill-after", 0, "time between TERM and KILL when it is in danger (default a tenth of --ttl)")
	fs.DurationVar(&o.timeout, "timeout", 0, "give up after so long; 0: at once if it is taken (default wait)")
	fs.BoolVar(&o.yield, "yield", false, yieldUsage)
}

// yieldUsage is of the flag of all commands that hold something that others can ask for.
const yieldUsage = "release it when somebody asks for that, as coordctl locks ask does: end the command, if there is one, by TERM"

func (o *runOptions) validateRun(cmd *cobra.Command, args []string) error {
	switch slots := cmd.Flags().Changed("slots"); {
	case o.lock == "":
		return badArguments("run needs --lock NAME")
	case len(args) == 0:
		return badArguments("run needs a command: coordctl run --lock NAME -- command")
	case slots && (o.limit < 1 || o.limit > recipes.MaxLimit):
		return badArguments("-n is %d: give 1 to %d", o.limit, recipes.MaxLimit)
	case o.shared && slots, o.etcdLayout && (o.shared || slots || o.yield):
		return badArguments("-n and --shared exclude each other, and --etcd-layout both and --yield")
	case slots:
		o.weight = 1
	}
	return o.validate(cmd)
}

// validate looks at what bind has bound.
func (o *runOptions) validate(cmd *cobra.Command) error {
	ttl := time.Duration(o.ttlSeconds) * time.Second
	switch timeout := cmd.Flags().Changed("timeout"); {
	case timeout && o.timeout < 0:
		return badArguments("--timeout is %v: give 0 or more, or leave it out to wait", o.timeout)
	case !timeout:
		o.timeout = -1
	}
	switch {
	case o.ttlSeconds < 1 || o.ttlSeconds > recipes.MaxTTLSeconds:
		return badArguments("--ttl is %d: give 1 to %d seconds", o.ttlSeconds, recipes.MaxTTLSeconds)
	case o.killAfter < 0 || o.killAfter > ttl/2:
		return badArguments("--kill-after is %v: give at most half of --ttl, %v", o.killAfter, ttl/2)
	}
	if !cmd.Flags().Changed("kill-after") {
		o.killAfter = ttl / 10
	}
	return nil
}

func (s *session) run(cmd *cobra.Command, o runOptions, command []string) error {
	c := newRunChild(cmd, o, command)
	if c.Err != nil {
		return cannotRun(c.Err) // before anybody waits for it
	}
	o.reason = cmp.Or(o.reason, command[0])
	return s.holding(cmd, o.ttlSeconds, func(_ *clientv3.Client, held *recipes.Session) error {
		hold, err := o.acquire(cmd.Context(), held)
		if err != nil {
			return err
		}
		c.Env = append(os.Environ(), "COORDD_TOKEN="+hold.Token().String(), "COORDD_LOCK="+o.lock, "COORDD_LOCK_KEY="+hold.Key(),
			fmt.Sprintf("COORDD_LOCK_REVISION=%d", hold.Token().Revision()))
		return cannotRun(c.run(hold, passedOn...))
	})
}

// acquire waits for what the options name.
func (o *runOptions) acquire(ctx context.Context, held *recipes.Session) (*recipes.Hold, error) {
	ctx, stop := untilInterrupted(ctx)
	defer stop()
	waiting, cancel := ctx, context.CancelFunc(func() {})
	if o.timeout > 0 {
		waiting, cancel = context.WithTimeout(ctx, o.timeout)
	}
	defer cancel()
	hold, err := o.take(waiting, held, o.timeout == 0)
	switch {
	case err == nil:
		return hold, nil
	case ctx.Err() != nil:
		return nil, withCode(exitNotAcquired, errors.New("interrupted while waiting for its turn"))
	case waiting.Err() != nil:
		return nil, withCode(exitNotAcquired, fmt.Errorf("%s was not free within %v", o.lock, o.timeout))
	case errors.Is(err, recipes.ErrLocked):
		return nil, withCode(exitNotAcquired, fmt.Errorf("%s is not free", o.lock))
	case errors.Is(err, recipes.ErrInvalidName):
		return nil, badArguments("name %q: %w", o.lock, err)
	}
	return nil, err
}

func (o *runOptions) take(ctx context.Context, held *recipes.Session, onlyIfFree bool) (*recipes.Hold, error) {
	if o.weight > 0 {
		semaphore := recipes.NewSemaphore(held, o.lock, &recipes.SemaphoreOptions{Reason: o.reason, Limit: o.limit})
		if onlyIfFree {
			return semaphore.TryAcquire(ctx, o.weight)
		}
		return semaphore.Acquire(ctx, o.weight)
	}
	options := &recipes.MutexOptions{Reason: o.reason, EtcdLayout: o.etcdLayout}
	if o.shared {
		lock := recipes.NewRWMutex(held, o.lock, options)
		if onlyIfFree {
			return lock.TryRLock(ctx)
		}
		return lock.RLock(ctx)
	}
	lock := recipes.NewMutex(held, o.lock, options)
	if onlyIfFree {
		return lock.TryLock(ctx)
	}
	return lock.Lock(ctx)
}

// newRunChild prepares the command. On a terminal it reads nothing: its process group is not the one that may.
func newRunChild(cmd *cobra.Command, o runOptions, command []string) *child {
	c := &child{
		Cmd: exec.Command(command[0], command[1:]...), whole: true,
		killAfter: o.killAfter, margin: killMargin(o.ttlSeconds), yield: o.yield,
	}
	if !isTerminal(os.Stdin) {
		c.Stdin = cmd.InOrStdin()
	}
	c.Stdout, c.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	if c.grouped = ownGroup(c.Cmd); c.grouped {
		dieWithParent(c.Cmd)
		adoptOrphans()
	}
	return c
}

// killMargin is how long before the end of a hold its command is killed: for the kernel to end it, and for timers that
// come late.
func killMargin(ttlSeconds int64) time.Duration {
	return min(max(time.Duration(ttlSeconds)*time.Second/20, 100*time.Millisecond), time.Second)
}

// cannotRun gives errors of the run their exit codes.
func cannotRun(err error) error {
	if _, lost := errors.AsType[*endangeredError](err); lost {
		return withCode(exitLost, err)
	}
	if _, ran := errors.AsType[*exitCodeError](err); ran || err == nil {
		return err
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return withCode(exitNotFound, err)
	}
	return withCode(exitCannotRun, err)
}
