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
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/locksmith/restart"
	"github.com/coordd/coordd/locksmith/slots"
)

// exitNotAcquired is what coordctl's commands that wait end with, too.
const exitNotAcquired = 124

// restartOptions is what restart's flags say.
type restartOptions struct {
	release   bool
	wait      time.Duration
	stableFor time.Duration
	deadline  time.Duration
	check     string
	zone      string
	member    string
}

func newRestartCommand(s *session) *cobra.Command {
	var o restartOptions
	cmd := &cobra.Command{
		Use:   "restart UNIT",
		Short: "Restart a unit of systemd when it is this machine's turn",
		Long: `restart restarts a unit of systemd on this machine when it is the machine's turn: it waits
for a slot, in the order of arrival, asks systemd to restart the unit, watches that the
unit stays active for --stable-for, and gives the slot back. All machines that restart
the unit share the slots of the group unit-<UNIT>, one unless set-max says otherwise, or
those of -group.

When the restart fails, or the unit does not stay active, or the check does not pass
within --deadline, this machine keeps the slot and the record says why: the restarts of
all others wait, and say for whom and why. After the repair, restart on the same machine
takes the slot over and gives it back; or unlock frees it:
  locksmithctl -group unit-nginx.service unlock

Interrupted while it waits, restart leaves no slot. Interrupted or killed after it has
asked for the restart, it keeps the slot, because nobody knows then how the unit is.
restart --release UNIT tidies up after one that was killed: lock-restart@.service does so.

Exit codes:
  0    the unit was restarted and is well; with --release: there is nothing new to tell
  1    the unit is not known to be well, and the slot is kept; or nothing could be done
  2    the command line cannot be understood
  124  no slot came free within --wait, or interrupted before: nothing was restarted`,
		Example: `  locksmithctl restart nginx
  locksmithctl -group web restart nginx --stable-for 1m --check 'curl -fsS http://127.0.0.1/healthz'
  systemctl start lock-restart@nginx`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return s.restart(cmd, o, restart.UnitName(args[0]))
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.wait, "wait", time.Hour, "how long to wait for a slot")
	f.DurationVar(&o.stableFor, "stable-for", 10*time.Second, "how long the unit must stay active")
	f.DurationVar(&o.deadline, "deadline", 10*time.Minute, "time for the restart, for --stable-for, and for the check to pass, all together")
	f.StringVar(&o.check, "check", "", "program and arguments, split at spaces, without a shell, that must exit with 0; it is tried again until --deadline")
	f.StringVar(&o.zone, "zone", "", "failure domain of this machine, where the policy limits zones")
	f.StringVar(&o.member, "member", "", "name of the member of the store that the restart takes down, if it does: no two members are down at once")
	f.BoolVar(&o.release, "release", false, "restart nothing; end what a killed restart of the unit has left")
	return cmd
}

func (o *restartOptions) validate() error {
	switch {
	case o.wait <= 0:
		return fmt.Errorf("--wait %v must be above 0", o.wait)
	case o.stableFor < 0:
		return fmt.Errorf("--stable-for %v must not be negative", o.stableFor)
	case o.deadline <= o.stableFor:
		return fmt.Errorf("--deadline %v must be above --stable-for %v", o.deadline, o.stableFor)
	}
	return nil
}

func (s *session) restart(cmd *cobra.Command, o restartOptions, unit string) error {
	service := &service{out: cmd.ErrOrStderr()}
	err := s.withStore(restart.GroupOf(unit), func(client *clientv3.Client, g *slots.Group) error {
		c := restart.Config{
			Client: client, Group: g, Unit: unit, Zone: o.zone, Member: o.member, LockDir: runtimeDirectory(),
			Wait: o.wait, StableFor: o.stableFor, Deadline: o.deadline, Check: strings.Fields(o.check), Report: service.report,
		}
		var err error
		if c.ID, _, err = machineID(nil); err != nil {
			return err
		}
		if c.BootID, err = bootID(); err != nil {
			return err
		}
		c.Hostname, _ = os.Hostname() // for people only: none is fine
		switch {
		case s.dryRun:
			return s.wouldRestart(cmd, c)
		case o.release:
			return s.release(cmd.Context(), c)
		}
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		service.extendTimeouts(ctx)
		return restart.Run(ctx, c, restart.Manager{})
	})
	return restartFailure(unit, err)
}

// wouldRestart says whether the restart could begin now.
func (s *session) wouldRestart(cmd *cobra.Command, c restart.Config) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), s.client.Timeout)
	defer cancel()
	return s.wouldLock(ctx, cmd, c.Group, slots.Record{ID: c.ID, Hostname: c.Hostname, Zone: c.Zone, Member: c.Member})
}

// release does not wait for the store for long: it is called when a unit has ended.
func (s *session) release(ctx context.Context, c restart.Config) error {
	ctx, cancel := context.WithTimeout(ctx, s.client.Timeout)
	defer cancel()
	kept, err := restart.Release(ctx, c)
	if kept != "" {
		return &restart.KeptError{Group: c.Group.Name(), ID: c.ID, Because: errors.New(kept)}
	}
	return err
}

// restartFailure says what to do.
func restartFailure(unit string, err error) error {
	if err == nil {
		return nil
	}
	f := &failure{text: "Error restarting " + unit + ": " + strings.TrimPrefix(err.Error(), "restart: ")}
	if kept, ok := errors.AsType[*restart.KeptError](err); ok {
		f.hint = fmt.Sprintf("When it is repaired, restart it again here, or free the slot: locksmithctl -group %s unlock %s", kept.Group, kept.ID)
	}
	if _, ok := errors.AsType[*restart.NotItsTurnError](err); ok {
		f.code = exitNotAcquired
	}
	return f
}

// withStore runs f on the group that the flags name, or else on the usual one. It
// sets no time limit.
func (s *session) withStore(usual string, f func(*clientv3.Client, *slots.Group) error) error {
	return s.withClient(func(client *clientv3.Client) error {
		g, err := slots.NewGroup(client, slots.DefaultPrefix, cmp.Or(s.group, usual))
		if err != nil {
			return err
		}
		return f(client, g)
	})
}

func (s *session) withClient(f func(*clientv3.Client) error) error {
	client, err := slots.NewClient(s.client)
	if err != nil {
		return err
	}
	defer client.Close()
	return f(client)
}

// runtimeDirectory is where systemd's RuntimeDirectory= is, or would be.
func runtimeDirectory() string { return cmp.Or(os.Getenv("RUNTIME_DIRECTORY"), "/run/locksmith") }

const bootIDFile = "/proc/sys/kernel/random/boot_id"

func bootID() (string, error) {
	b, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", fmt.Errorf("read this boot's id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
