package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/locksmith/startslot"
	"github.com/coordd/coordd/recipes"
)

func newStartSlotCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start-slot",
		Short: "Let only a few units start at the same time",
		Long: `start-slot lets only a few units start at the same time, on all machines that share the
store. It is for a drop-in of the unit (50-start-slot.conf):
  ExecStartPre=+locksmithctl start-slot acquire NAME --limit 3 --ttl 2m
  ExecStartPost=+locksmithctl start-slot release
  ExecStopPost=+locksmithctl start-slot release
The slots are those of the semaphore NAME: coordctl semaphore status NAME shows them,
coordctl semaphore limit NAME changes their number. A machine that crashes in between
loses its slot after --ttl. For one after another, with a look at the result, there is
lock-restart@.service.`,
	}
	cmd.AddCommand(newStartSlotAcquireCommand(s), newStartSlotReleaseCommand(s))
	return cmd
}

func newStartSlotAcquireCommand(s *session) *cobra.Command {
	c := startslot.Config{}
	var ttl, wait time.Duration
	cmd := &cobra.Command{
		Use:   "acquire NAME",
		Short: "Wait for a slot of NAME and take it for the unit's start",
		Long: `acquire waits for a slot of NAME, in the order of arrival, and takes it for this start of the
unit: systemd's INVOCATION_ID names it. To wait counts as part of the start: systemd ends
it after TimeoutStartSec=, unless the unit's Type= is one that notifies and its
NotifyAccess= exec or all. Exit code 124: no slot came free within --wait.`,
		Example: `  locksmithctl start-slot acquire java --limit 3 --ttl 2m`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Name, c.TTLSeconds, c.Invocation = args[0], int64(ttl/time.Second), os.Getenv("INVOCATION_ID")
			switch {
			case s.dryRun:
				return &failure{text: "A start slot is taken or not: there is no -dry-run."}
			case c.TTLSeconds < 1 || c.TTLSeconds > recipes.MaxTTLSeconds:
				return fmt.Errorf("--ttl %v is not within 1s to %v", ttl, recipes.MaxTTLSeconds*time.Second)
			case c.Limit < 0 || c.Limit > recipes.MaxLimit:
				return fmt.Errorf("--limit %d is not within 1 to %d", c.Limit, recipes.MaxLimit)
			case wait <= 0:
				return fmt.Errorf("--wait %v must be above 0", wait)
			}
			hostname, _ := os.Hostname() // for people only: none is fine
			c.Reason = "start on " + hostname
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			service := &service{out: cmd.ErrOrStderr()}
			service.extendTimeouts(ctx)
			return startSlotFailure("acquiring", s.withClient(func(client *clientv3.Client) error {
				return startslot.Acquire(ctx, client, c)
			}))
		},
	}
	cmd.Flags().Int64Var(&c.Limit, "limit", 0, "how many may start at the same time, if NAME has no limit yet")
	cmd.Flags().DurationVar(&ttl, "ttl", 5*time.Minute, "how long a slot lasts that nobody gives back: no less than a start may take")
	cmd.Flags().DurationVar(&wait, "wait", time.Hour, "how long to wait for a slot")
	return cmd
}

func newStartSlotReleaseCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "release",
		Short: "Give back the slot of the unit's start, if it has one",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.dryRun {
				return &failure{text: "A start slot is given back or not: there is no -dry-run."}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), s.client.Timeout)
			defer cancel()
			return startSlotFailure("releasing", s.withClient(func(client *clientv3.Client) error {
				return startslot.Release(ctx, client, os.Getenv("INVOCATION_ID"))
			}))
		},
	}
}

func startSlotFailure(doing string, err error) error {
	if err == nil {
		return nil
	}
	f := &failure{text: "Error " + doing + " a start slot: " + strings.TrimPrefix(err.Error(), "startslot: ")}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		f.code = exitNotAcquired
	}
	if errors.Is(err, recipes.ErrNoLimit) {
		f.hint = "Give --limit, or set one: coordctl semaphore limit NAME N"
	}
	return f
}
