package main

import (
	"context"
	"errors"
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
				record := slots.Record{ID: id, TakenBy: slots.TakenByOperator, Reason: "taken by " + operator(), Since: time.Now().UTC()}
				if own {
					record.Hostname, _ = os.Hostname() // for people only: none is fine
				}
				if err := located(ctx, g, &record); err != nil {
					return err
				}
				if s.dryRun {
					return s.wouldLock(ctx, cmd, g, record)
				}
				slot, err := g.Acquire(ctx, record)
				if err == nil && s.json() {
					return printJSON(cmd.OutOrStdout(), map[string]any{"id": id, "fence": slot.Fence()})
				}
				return err
			})
		},
	}
}

// wouldLock says what lock would do.
func (s *session) wouldLock(ctx context.Context, cmd *cobra.Command, g *slots.Group, want slots.Record) error {
	if _, r, err := g.Find(ctx, want.ID); err == nil {
		return s.say(cmd, r, "%s holds a slot already.\n", want.ID)
	} else if !errors.Is(err, slots.ErrNotHeld) {
		return err
	}
	if err := g.WouldGrant(ctx, want); err != nil {
		return err
	}
	return s.say(cmd, want, "%s would get a slot.\n", want.ID)
}

func newUnlockCommand(s *session) *cobra.Command {
	var force bool
	var reason string
	cmd := &cobra.Command{
		Use:   "unlock [ID]",
		Short: "Give back the slot of a machine, this one unless an id is given",
		Long: `unlock gives back the slot of a machine: this one, unless an id is given. Unlocking a
machine that is down lets another one go down beside it: look at it first. The history says
who did it, and with --reason why.

--force also removes a record that cannot be read, as one of a newer version.`,
		Example: `  locksmithctl unlock
  locksmithctl unlock 4f2e81a06f4b4e0d8a4b1f0b2f4ee4c1 --reason 'the machine is scrapped'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withGroup(cmd, "unlocking", func(ctx context.Context, g *slots.Group) error {
				id, _, err := machineID(args)
				if err != nil {
					return err
				}
				slot, r, err := g.Find(ctx, id)
				if force && err != nil && !errors.Is(err, slots.ErrNotHeld) && ctx.Err() == nil {
					return s.unlockDamaged(ctx, cmd, g, id, reason, err)
				}
				if err != nil {
					return err
				}
				if s.dryRun {
					return s.say(cmd, r, "Would give back the slot of %s, %s since %s.\n", r.Name(), r.Phase, r.PhaseSince.Local().Format(time.DateTime))
				}
				if err := slot.Unlock(ctx, operator(), reason, time.Now()); err != nil || !s.json() {
					return err
				}
				return printJSON(cmd.OutOrStdout(), r)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also if the record of the machine cannot be read")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return cmd
}

// unlockDamaged removes a record that cannot be read, because of damage.
func (s *session) unlockDamaged(ctx context.Context, cmd *cobra.Command, g *slots.Group, id, reason string, damage error) error {
	record := map[string]string{"id": id, "error": damage.Error()}
	if s.dryRun {
		return s.say(cmd, record, "Would remove the record of %s: %v\n", id, damage)
	}
	if err := g.RemoveDamaged(ctx, id, operator(), reason, time.Now()); err != nil {
		return err
	}
	return s.say(cmd, record, "Removed the record of %s: %v\n", id, damage)
}
