package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
)

// etcdLayoutUsage is of the flag of the commands that are etcdctl's too.
const etcdLayoutUsage = "hold what etcdctl, etcd's library and its lock and election services do; =false: what programs with coordd's recipes do"

// lockOptions are the flags of lock.
type lockOptions struct {
	ttlSeconds int
	etcdLayout bool
	yield      bool
}

func newLockCommand(s *session) *cobra.Command {
	var o lockOptions
	cmd := &cobra.Command{
		Use:   "lock <lockname> [-- exec-command arg1 arg2 ...]",
		Short: "Hold a lock while a command runs, or until interrupted",
		Long: `Hold a lock while a command runs, or until interrupted. Only one holds the lock of a name at a time, whether it
came by coordctl, by etcdctl or by etcd's client library. Without a command it prints its key once it holds the lock.

The command finds its key in ETCD_LOCK_KEY and COORDD_LOCK_KEY, and in ETCD_LOCK_REV and COORDD_LOCK_REV a number that
is larger for each holder than for the one before. Its exit code is coordctl's, 128 and the number of the signal if one
ended it. Should the lock be lost, the command is killed before another can hold it, and the exit code is 1.

With --etcd-layout=false it is the lock of recipes.NewMutex(NAME), of coordctl run and of coordctl locks, which does not
exclude etcdctl's. Then it prints its fencing token too, and the command has that in COORDD_TOKEN.`,
		Example: `  coordctl lock nightly-backup -- /usr/local/bin/backup --full
  coordctl lock maintenance --ttl 30
  coordctl lock inventory --etcd-layout=false`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, rangeResult{})
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return badArguments("lock needs the name of a lock and, if something is to run, a command")
			}
			if o.yield && o.etcdLayout {
				return errYieldLayout
			}
			if !o.etcdLayout {
				if p, err = s.printer(cmd, holdResult{}); err != nil {
					return err
				}
			}
			return s.lock(cmd, p, o, args[0], args[1:])
		},
	}
	cmd.Flags().IntVar(&o.ttlSeconds, "ttl", 10, "seconds for which the lock of a holder that has crashed stays taken")
	cmd.Flags().BoolVar(&o.etcdLayout, "etcd-layout", true, etcdLayoutUsage)
	cmd.Flags().BoolVar(&o.yield, "yield", false, yieldUsage)
	cmd.ValidArgsFunction = s.completeHeld(func() string { return "lock" })
	return cmd
}

var errYieldLayout = badArguments("--yield needs --etcd-layout=false: in etcd's layout nobody can ask for a release")

func (s *session) lock(cmd *cobra.Command, p *printer, o lockOptions, name string, command []string) error {
	return s.holding(cmd, int64(o.ttlSeconds), func(c *clientv3.Client, held *recipes.Session) error {
		ctx, stop := untilInterrupted(cmd.Context())
		defer stop()
		options := &recipes.MutexOptions{EtcdLayout: o.etcdLayout}
		if !o.etcdLayout && len(command) > 0 {
			options.Reason = command[0]
		}
		hold, err := recipes.NewMutex(held, name, options).Lock(ctx)
		switch {
		case err != nil:
			return interruptedOr(ctx, invalidName(err))
		case len(command) > 0:
			return runLocked(cmd, command, o, hold)
		case o.etcdLayout:
			err = showHeld(ctx, c, p, hold.Key())
		default:
			err = p.print(newHoldResult(hold))
		}
		if err != nil {
			return err
		}
		return awaitEnd(ctx, cmd.ErrOrStderr(), hold, o.yield)
	})
}

// holding runs f with a lease that is kept alive, which ends with f and with it all that is held.
func (s *session) holding(cmd *cobra.Command, ttlSeconds int64, f func(*clientv3.Client, *recipes.Session) error) error {
	c, err := s.client(s.endpoints...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), s.commandTimeout)
	defer cancel()
	held, err := recipes.NewSession(ctx, c, &recipes.SessionOptions{TTLSeconds: ttlSeconds})
	if err != nil {
		return s.explainUnreachable(cmd.Context(), err)
	}
	return cmp.Or(f(c, held), held.Close())
}

// interruptedOr is err, why a wait has ended, unless that was because ctx did.
func interruptedOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted while waiting for its turn")
	}
	return err
}

// showHeld prints a key that is held.
func showHeld(ctx context.Context, c *clientv3.Client, p *printer, key string) error {
	resp, err := c.Get(ctx, key)
	if err != nil {
		return err
	}
	if len(resp.Kvs) == 0 {
		return &endangeredError{fmt.Errorf("the key %s is gone", key)}
	}
	return p.print(rangeResult{(*pb.RangeResponse)(resp), false})
}

// runLocked runs a command as etcdctl does: on a terminal in coordctl's own process group, so that Ctrl-C and Ctrl-Z reach
// both. It ends with the command itself, whatever that leaves behind.
func runLocked(cmd *cobra.Command, command []string, o lockOptions, hold *recipes.Hold) error {
	c := &child{Cmd: exec.Command(command[0], command[1:]...), margin: killMargin(int64(o.ttlSeconds)), yield: o.yield}
	if !isTerminal(os.Stdin) {
		c.grouped = ownGroup(c.Cmd)
	}
	c.Stdout, c.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	c.Env = os.Environ()
	for _, prefix := range []string{"ETCD", "COORDD"} {
		c.Env = append(c.Env, fmt.Sprintf("%s_LOCK_KEY=%s", prefix, hold.Key()), fmt.Sprintf("%s_LOCK_REV=%d", prefix, hold.Header().GetRevision()))
	}
	if !o.etcdLayout {
		c.Env = append(c.Env, "COORDD_TOKEN="+hold.Token().String())
	}
	return c.run(hold, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// childError gives the error of a command that has ended the exit code that tells it.
func childError(err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return withCode(128+int(status.Signal()), err)
	}
	return withCode(exit.ExitCode(), err)
}
