package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/v3/concurrency"
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

func (s *session) lock(cmd *cobra.Command, p *printer, name string, command []string, ttlSeconds int64) (err error) {
	h, err := s.holder(cmd, ttlSeconds)
	if err != nil {
		return err
	}
	defer func() { err = h.release(err) }()
	m := concurrency.NewMutex(h.keys, name)
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	if err := h.acquire(ctx, m.Lock); err != nil {
		return err
	}
	rev := m.Header().GetRevision()
	if len(command) > 0 {
		return h.run(cmd, command, m.Key(), rev)
	}
	if err := h.show(ctx, p, m.Key()); err != nil {
		return err
	}
	return lost(h.await(ctx, m.Key(), rev))
}

// holder makes a client and a holder. releasing it closes both.
func (s *session) holder(cmd *cobra.Command, ttlSeconds int64) (*holder, error) {
	c, err := s.client(s.endpoints...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), s.commandTimeout)
	defer cancel()
	h, err := newHolder(ctx, c, ttlSeconds)
	if err != nil {
		c.Close()
		return nil, err
	}
	return h, nil
}

// release gives up all that is held. It returns err or else why it could not be given up before its time.
func (h *holder) release(err error) error {
	defer h.client.Close()
	return cmp.Or(err, h.Close())
}

// acquire waits until wait returns, ctx ends or the lease does.
func (h *holder) acquire(ctx context.Context, wait func(context.Context) error) error {
	held, cancel := h.until(ctx)
	defer cancel()
	err := wait(held)
	switch {
	case err == nil:
		return h.Valid()
	case ctx.Err() != nil:
		return errors.New("interrupted while waiting for its turn")
	case held.Err() != nil:
		return h.Valid()
	}
	return err
}

// show prints the key that is held.
func (h *holder) show(ctx context.Context, p *printer, key string) error {
	resp, err := h.client.Get(ctx, key)
	if err != nil {
		return err
	}
	if len(resp.Kvs) == 0 {
		return lost(fmt.Errorf("the key %s is gone", key))
	}
	return p.print(rangeResult{(*pb.RangeResponse)(resp), false})
}

func lost(why error) error {
	if why == nil {
		return nil
	}
	return fmt.Errorf("lost what was held: %w", why)
}

// run runs a command for as long as the key is held.
func (h *holder) run(cmd *cobra.Command, command []string, key string, rev int64) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	child := newChild(command)
	child.Stdout, child.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	child.Env = os.Environ()
	for _, prefix := range []string{"ETCD", "COORDD"} {
		child.Env = append(child.Env, fmt.Sprintf("%s_LOCK_KEY=%s", prefix, key), fmt.Sprintf("%s_LOCK_REV=%d", prefix, rev))
	}
	if err := child.Start(); err != nil {
		return err
	}
	var result error // of the child, once ended is
	ended, cancel := context.WithCancel(cmd.Context())
	go func() {
		defer cancel()
		result = child.Wait()
	}()
	gone := make(chan error, 1)
	go func() { gone <- h.await(ended, key, rev) }()
	for {
		select {
		case received := <-signals:
			child.forward(received)
		case why := <-gone:
			if why == nil { // the child ended first
				return childError(result)
			}
			child.kill()
			<-ended.Done()
			return lost(fmt.Errorf("%w; killed %s", why, command[0]))
		}
	}
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
