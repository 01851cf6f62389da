package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/locksmith/slots"
)

func newLockCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "lock [ID]",
		Short: "Take a slot for a machine, this one unless an id is given",
		Long: `lock takes a slot for a machine: this one, unless an id is given. It does not wait: when
every slot is taken it fails. A machine that holds a slot already keeps it, and lock
succeeds.

A slot taken this way stays taken until unlock, so it also keeps others from rebooting.`,
		Example: `  locksmithctl lock
  locksmithctl lock 4f2e81a06f4b4e0d8a4b1f0b2f4ee4c1`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withGroup(cmd, "locking", func(ctx context.Context, g *slots.Group) error {
				id, own, err := machineID(args)
				if err != nil {
					return err
				}
				record := slots.Record{ID: id, TakenBy: "locksmithctl", Since: time.Now().UTC()}
				if own {
					record.Hostname, _ = os.Hostname() // for people only: none is fine
				}
				_, err = g.Acquire(ctx, record)
				return err
			})
		},
	}
}

func newUnlockCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "unlock [ID]",
		Short: "Give back the slot of a machine, this one unless an id is given",
		Long: `unlock gives back the slot of a machine: this one, unless an id is given. Unlocking a
machine that is down lets another one go down beside it: look at it first.`,
		Example: `  locksmithctl unlock
  locksmithctl unlock 4f2e81a06f4b4e0d8a4b1f0b2f4ee4c1`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withGroup(cmd, "unlocking", func(ctx context.Context, g *slots.Group) error {
				id, _, err := machineID(args)
				if err != nil {
					return err
				}
				slot, _, err := g.Find(ctx, id)
				if err != nil {
					return err
				}
				return slot.Release(ctx)
			})
		},
	}
}
