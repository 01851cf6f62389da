package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/bus"
	"github.com/coordd/coordd/locksmith/command"
	"github.com/coordd/coordd/locksmith/health"
	"github.com/coordd/coordd/locksmith/hooks"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/trigger"
)

// Host is the machine on which the agent runs: systemd, or a program that reboots.
type Host struct {
	BootIDFile  string           // its content, without white space around it, differs after every boot
	Store       *clientv3.Client // nil: there is none
	StoreMember string           // which of its members runs here: blocker.MemberAuto, blocker.MemberNone, or a name

	Triggers *trigger.Sources
	Reason   string // for people, instead of what the triggers say; empty: that
	Blockers *blocker.Blockers
	Hooks    *hooks.Runner
	Checks   *health.Checks

	Logind     *login1.Conn
	SoftReboot bool          // of user space alone
	Command    []string      // program and arguments that reboot instead of logind; empty: logind
	Timeout    time.Duration // until the machine must be going down

	warned time.Time // of the last warning: the reboot that it told of
}

// BootID reads the boot id, and on a machine of systemd's the number of soft
// reboots since. An empty file is an error: it would make every boot alike.
func (h *Host) BootID(ctx context.Context) (string, error) {
	b, err := os.ReadFile(h.BootIDFile)
	if err != nil {
		return "", fmt.Errorf("agent: read boot id: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if id == "" {
		return "", fmt.Errorf("agent: read boot id: %s is empty", h.BootIDFile)
	}
	if len(h.Command) > 0 {
		return id, nil
	}
	soft, err := softReboots(ctx)
	if err != nil {
		return "", fmt.Errorf("agent: ask for the number of soft reboots: %w", err)
	}
	if soft > 0 {
		id = fmt.Sprintf("%s+%d", id, soft)
	}
	return id, nil
}

// softReboots asks the service manager. One that does not count them, or none, has
// made none; that it could not be asked is an error, for then a soft reboot would
// look like a restart of the agent.
func softReboots(ctx context.Context) (count uint32, err error) {
	conn, err := bus.Connect(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var v dbus.Variant
	err = bus.Call(ctx, conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1"),
		"org.freedesktop.DBus.Properties.Get", []any{"org.freedesktop.systemd1.Manager", "SoftRebootsCount"}, &v)
	if bus.IsRefused(err, "org.freedesktop.DBus.Error.UnknownProperty", bus.UnknownMethod, bus.UnknownObject, bus.InvalidArgs, bus.NoService) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return count, v.Store(&count)
}

// Uptime is the time since the start of the service manager.
func (h *Host) Uptime(ctx context.Context) (time.Duration, error) { return health.SinceBoot(ctx) }

// Member finds the store's member that runs here.
func (h *Host) Member(ctx context.Context) (string, error) {
	if h.Store == nil {
		return "", nil
	}
	return blocker.Member(ctx, h.Store, h.StoreMember)
}

// Wanted asks all triggers.
func (h *Host) Wanted(ctx context.Context) (reasons []string, err error) {
	reasons, err = h.Triggers.Wanted(ctx)
	if len(reasons) > 0 && h.Reason != "" {
		reasons = []string{h.Reason}
	}
	return reasons, err
}

// Blocks asks all blockers.
func (h *Host) Blocks(ctx context.Context) []blocker.Reason { return h.Blockers.Blocks(ctx) }

// Sessions asks logind.
func (h *Host) Sessions(ctx context.Context) ([]login1.Session, error) { return h.Logind.Sessions(ctx) }

// Warn lets logind tell everybody.
func (h *Host) Warn(ctx context.Context, why string, at time.Time) error {
	h.warned = at
	return h.Logind.Warn(ctx, why, at)
}

// Unwarn lets logind tell everybody that the warning is off.
func (h *Host) Unwarn(ctx context.Context) error { return h.Logind.Unwarn(ctx, h.warned) }

// Before runs the hooks before a reboot.
func (h *Host) Before(ctx context.Context, r hooks.Reboot) error { return h.Hooks.Before(ctx, r) }

// After runs the hooks after a reboot.
func (h *Host) After(ctx context.Context, r hooks.Reboot) error { return h.Hooks.After(ctx, r) }

// Health runs all checks.
func (h *Host) Health(ctx context.Context) health.Report { return h.Checks.Run(ctx) }

// Reboot asks logind, or runs the command.
func (h *Host) Reboot(ctx context.Context) error {
	switch {
	case len(h.Command) > 0:
		return h.runCommand(ctx)
	case h.SoftReboot:
		return h.Logind.SoftReboot(ctx, h.Timeout)
	}
	return h.Logind.Reboot(ctx, h.Timeout)
}

// runCommand takes the exit status for the answer. A program that was killed may
// have been so because the machine goes down.
func (h *Host) runCommand(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	result, err := command.Run(ctx, h.Command, command.Options{})
	if _, ok := errors.AsType[*fs.PathError](err); ok || errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("agent: reboot: %w", err)
	}
	if err != nil {
		return fmt.Errorf("agent: reboot: %w: %w", login1.ErrUncertain, err)
	}
	if result.ExitCode != 0 {
		return fmt.Errorf("agent: reboot: %s: %w", h.Command[0], result.ExitError())
	}
	return nil
}

// GoingDown asks logind. Where a command reboots there may be none.
func (h *Host) GoingDown(ctx context.Context) (bool, error) {
	down, err := h.Logind.IsShuttingDown(ctx)
	if len(h.Command) > 0 {
		return down && err == nil, nil
	}
	return down, err
}

// Check says what would else be known with a slot in hand: that the program which
// reboots does not exist.
func (h *Host) Check() error {
	if len(h.Command) == 0 {
		return nil
	}
	if _, err := exec.LookPath(h.Command[0]); err != nil {
		return fmt.Errorf("reboot.command: %w", err)
	}
	return nil
}
