package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/locksmith/line"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/slots"
	"github.com/coordd/coordd/locksmith/trigger"
)

func newRebootCommand(s *session) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "reboot",
		Short: "Take a slot for this machine and reboot it",
		Long: `reboot takes a slot for this machine and asks logind for a reboot, at once: windows and
the agent's blockers are not asked, the limits of the group and programs that hold a block
inhibitor are. When logind refuses, a slot that was taken for this is given back.

After the reboot locksmithd gives the slot back when the machine is well. Without locksmithd
it stays taken until 'locksmithctl unlock'.`,
		Example: `  locksmithctl reboot
  locksmithctl reboot --reason 'a new disk' --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.euid() != 0 && !s.dryRun {
				return &failure{text: "Must be root to initiate reboot."}
			}
			var r *reboot
			if err := s.withGroup(cmd, "locking", func(ctx context.Context, g *slots.Group) (err error) {
				r, err = s.newReboot(ctx, g, reason)
				return err
			}); err != nil {
				return err
			}
			return s.connected(cmd, "rebooting", func(fleet *slots.Fleet) error { return s.reboot(cmd, fleet, r) })
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return cmd
}

// reboot is a reboot of this machine by an operator.
type reboot struct {
	want   slots.Record
	held   bool // the machine has a slot already
	logind login1.Conn
}

// newReboot gathers what a reboot needs, and changes nothing.
func (s *session) newReboot(ctx context.Context, g *slots.Group, reason string) (*reboot, error) {
	id, _, err := machineID(nil)
	if err != nil {
		return nil, err
	}
	boot, err := thisBoot()
	if err != nil {
		return nil, err
	}
	r := &reboot{want: slots.Record{ID: id, BootID: boot, TakenBy: slots.TakenByAgent, Since: time.Now().UTC(),
		Reason: "locksmithctl reboot by " + operator()}}
	if reason != "" {
		r.want.Reason += ": " + reason
	}
	r.want.Hostname, _ = os.Hostname() // for people only: none is fine
	if err := located(ctx, g, &r.want); err != nil {
		return nil, err
	}
	_, _, err = g.Find(ctx, id)
	if r.held = err == nil; errors.Is(err, slots.ErrNotHeld) {
		err = nil
	}
	if err == nil && !r.held && s.dryRun {
		err = g.WouldGrant(ctx, r.want)
	}
	return r, err
}

// located adds to a record what the machine's agent, if one is alive, says of where
// the machine is: limits of zones and of the store's members count by it.
func located(ctx context.Context, g *slots.Group, r *slots.Record) error {
	a, alive, err := g.StatusOf(ctx, r.ID)
	if alive && err == nil {
		r.Hostname = cmp.Or(r.Hostname, a.Hostname)
		r.Zone, r.Stage, r.Priority, r.Member = a.Zone, a.Stage, a.Priority, a.Member
	}
	return err
}

// thisBoot names the present boot of this machine.
func thisBoot() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// reboot asks for a reboot that newReboot has prepared.
func (s *session) reboot(cmd *cobra.Command, fleet *slots.Fleet, r *reboot) error {
	if err := r.inhibited(cmd.Context()); err != nil {
		return err
	}
	if s.dryRun {
		return s.say(cmd, r.want, "Would take a slot for %s and reboot it.\n", r.want.ID)
	}
	g, err := fleet.Group(s.groupName())
	if err != nil {
		return err
	}
	slot, err := s.takeForReboot(cmd.Context(), g, r)
	if err != nil {
		return s.explain("locking", err)
	}
	err = r.logind.Reboot(cmd.Context(), 0)
	if err == nil {
		return s.say(cmd, map[string]any{"id": r.want.ID, "fence": slot.Fence()}, "")
	}
	return s.notRebooted(cmd.Context(), slot, r, err)
}

// inhibited says who holds the reboot up. A logind before version 257 does not ask
// for root, so this does.
func (r *reboot) inhibited(ctx context.Context) error {
	held, err := r.logind.Inhibitors(ctx)
	if err != nil {
		return err
	}
	for _, i := range held {
		if i.BlocksShutdown() {
			return fmt.Errorf("%s holds it up: %s", line.Printable(i.Who), line.Printable(i.Why))
		}
	}
	return nil
}

// takeForReboot takes the slot and records that the machine goes down with it. A slot
// that was taken for nothing is given back.
func (s *session) takeForReboot(ctx context.Context, g *slots.Group, r *reboot) (*slots.Slot, error) {
	ctx, cancel := context.WithTimeout(ctx, s.client.Timeout)
	defer cancel()
	slot, err := g.Acquire(ctx, r.want)
	if err != nil {
		return nil, err
	}
	if err := slot.SetPhase(ctx, slots.Rebooting, r.want.BootID, r.want.Reason); err != nil {
		return nil, s.giveBack(ctx, slot, r, err)
	}
	return slot, nil
}

// notRebooted ends a reboot that did not happen because of why.
func (s *session) notRebooted(ctx context.Context, slot *slots.Slot, r *reboot, why error) error {
	if errors.Is(why, login1.ErrUncertain) {
		return &failure{text: "Error rebooting: " + why.Error(),
			hint: "The machine may still go down, so it keeps its slot. If it stays up: locksmithctl unlock"}
	}
	return s.giveBack(ctx, slot, r, why)
}

// giveBack gives back the slot that was taken for the reboot, also when the command
// was interrupted; one that the machine had before it keeps. It returns why.
func (s *session) giveBack(ctx context.Context, slot *slots.Slot, r *reboot, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.client.Timeout)
	defer cancel()
	err := slot.SetPhase(ctx, slots.Held, r.want.BootID, "no reboot: "+why.Error())
	if err == nil && !r.held {
		err = slot.Release(ctx)
	}
	if err != nil && !errors.Is(err, slots.ErrNotHeld) && !errors.Is(err, slots.ErrPhase) {
		return &failure{text: "Error rebooting: " + why.Error(), hint: "The slot could not be given back: " + err.Error() + "\nlocksmithctl unlock does it."}
	}
	return why
}

func newSendNeedRebootCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "send-need-reboot",
		Short: "Tell the agent of this machine that a reboot is wanted",
		Long: `send-need-reboot sends the signal with which update_engine says that an update waits for a
reboot. Agents of this machine that listen to update_engine take it up; whether one does is
not known. It needs root, or a bus that lets this user send.`,
		Example: `  locksmithctl send-need-reboot`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.dryRun {
				return s.say(cmd, map[string]bool{"sent": false}, "Would send the signal that a reboot is wanted.\n")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), s.client.Timeout)
			defer cancel()
			if err := trigger.SendNeedReboot(ctx); err != nil {
				return &failure{text: "Error sending need-reboot: " + err.Error()}
			}
			return s.say(cmd, map[string]bool{"sent": true}, "")
		},
	}
}
