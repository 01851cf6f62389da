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

func newLockCommand(s *session) *cobra.Command {
	var ttlSeconds int
	cmd := &cobra.Command{
		Use:   "lock <lockname> [-- exec-command arg1 arg2 ...]",
		Short: "Hold a lock while a command runs, or until interrupted",
		Long: `Hold a lock while a command runs, or until interrupted. Only one holds the lock of a name at a time, whether it
came by coordctl, by etcdctl or by etcd's client library. Without a command it prints its key once it holds the lock.

The command finds its key in ETCD_LOCK_KEY and COORDD_LOCK_KEY, and in ETCD_LOCK_REV and COORDD_LOCK_REV a number that
is larger for each holder than for the one before. Its exit code is coordctl's, 128 and the number of the signal if one
ended it. Should the lock be lost, the command is killed before another can hold it, and the exit code is 1.`,
		Example: `  coordctl lock nightly-backup -- /usr/local/bin/backup --full
  coordctl lock maintenance --ttl 30`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, rangeResult{})
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return badArguments("lock needs the name of a lock and, if something is to run, a command")
			}
			return s.lock(cmd, p, args[0], args[1:], int64(ttlSeconds))
		},
	}
	cmd.Flags().IntVar(&ttlSeconds, "ttl", 10, "seconds for which the lock of a holder that has crashed stays taken")
	return cmd
}

func (s *session) lock(cmd *cobra.Command, p *printer, name string, command []string, ttlSeconds int64) error {
	return s.holding(cmd, ttlSeconds, func(c *clientv3.Client, held *recipes.Session) error {
		ctx, stop := untilInterrupted(cmd.Context())
		defer stop()
		hold, err := recipes.NewMutex(held, name, &recipes.MutexOptions{EtcdLayout: true}).Lock(ctx)
		if err != nil {
			return interruptedOr(ctx, err)
		}
		if len(command) > 0 {
			return runLocked(cmd, command, ttlSeconds, hold)
		}
		return s.showHeld(ctx, c, p, hold.Key(), hold.Context())
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
		return err
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

// showHeld prints a key that is held and waits for the end: of ctx, which is no error, or of held.
func (s *session) showHeld(ctx context.Context, c *clientv3.Client, p *printer, key string, held context.Context) error {
	resp, err := c.Get(ctx, key)
	if err != nil {
		return err
	}
	if len(resp.Kvs) == 0 {
		return &endangeredError{fmt.Errorf("the key %s is gone", key)}
	}
	if err := p.print(rangeResult{(*pb.RangeResponse)(resp), false}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-held.Done():
		return &endangeredError{context.Cause(held)}
	}
}

// runLocked runs a command as etcdctl does: on a terminal in coordctl's own process group, so that Ctrl-C and Ctrl-Z reach
// both. It ends with the command itself, whatever that leaves behind.
func runLocked(cmd *cobra.Command, command []string, ttlSeconds int64, hold *recipes.Hold) error {
	c := &child{Cmd: exec.Command(command[0], command[1:]...), margin: killMargin(ttlSeconds)}
	if !isTerminal(os.Stdin) {
		c.grouped = ownGroup(c.Cmd)
	}
	c.Stdout, c.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	c.Env = os.Environ()
	for _, prefix := range []string{"ETCD", "COORDD"} {
		c.Env = append(c.Env, fmt.Sprintf("%s_LOCK_KEY=%s", prefix, hold.Key()), fmt.Sprintf("%s_LOCK_REV=%d", prefix, hold.Header().GetRevision()))
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
