// Package hooks runs the operator's programs before a machine reboots and after
// it has: to drain it of its work, and to give it work again.
//
// The programs of each side run one after another, in order. The first that fails
// ends the run: it exits with another code than 0, cannot be started, or has not
// ended in time, in which case it is killed with all of its process group. What
// they print goes to the log, line by line.
//
// The programs after must be able to run when there is nothing to undo, and more
// than once: they run as well when a program before has failed or the reboot did
// not come about, so that no machine stays drained for nothing, and once more
// when only the agent was restarted in the middle of them.
package hooks

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/coordd/coordd/locksmith/command"
)

// Reboot is what programs are told of the reboot, in their environment.
type Reboot struct {
	Group     string // LOCKSMITH_GROUP
	MachineID string // LOCKSMITH_MACHINE_ID
	Hostname  string // LOCKSMITH_HOSTNAME
	Zone      string // LOCKSMITH_ZONE; may be empty
	Reason    string // LOCKSMITH_REASON: why the machine reboots
	BootID    string // LOCKSMITH_BOOT_ID: of the present boot
	Fence     int64  // LOCKSMITH_FENCE: rises with each possession of a slot; 0 without a slot
	Rebooted  bool   // LOCKSMITH_REBOOTED, true or false: the machine has been down since the programs before ran
}

// maxValue bounds, in bytes, what a program is told in one variable.
const maxValue = 1 << 10

func (r *Reboot) environment(side string) []string {
	var env []string
	set := func(key, value string) {
		value = strings.ReplaceAll(value, "\x00", " ") // would keep the program from starting
		env = append(env, "LOCKSMITH_"+key+"="+strings.ToValidUTF8(value[:min(len(value), maxValue)], ""))
	}
	set("HOOK", side)
	set("GROUP", r.Group)
	set("MACHINE_ID", r.MachineID)
	set("HOSTNAME", r.Hostname)
	set("ZONE", r.Zone)
	set("REASON", r.Reason)
	set("BOOT_ID", r.BootID)
	set("FENCE", strconv.FormatInt(r.Fence, 10))
	set("REBOOTED", strconv.FormatBool(r.Rebooted))
	return env
}

// Runner runs the programs of a valid configuration. Its methods are for one goroutine.
type Runner struct {
	Config Config
	Log    *slog.Logger // of what the programs print
}

// Before runs the programs before a reboot. An error forbids the reboot.
func (r *Runner) Before(ctx context.Context, reboot Reboot) error {
	return r.run(ctx, "before", r.Config.Before, reboot)
}

// After runs the programs after a reboot, or after what kept one from coming
// about. An error means that the machine is not in order.
func (r *Runner) After(ctx context.Context, reboot Reboot) error {
	return r.run(ctx, "after", r.Config.After, reboot)
}

func (r *Runner) run(ctx context.Context, side string, programs [][]string, reboot Reboot) error {
	env := reboot.environment(side)
	for _, argv := range programs {
		log := r.Log.With("hook", side, "program", argv[0])
		start := time.Now()
		if err := r.runOne(ctx, log, argv, env); err != nil {
			return fmt.Errorf("hooks: %s: %w", side, err)
		}
		log.Info("hook has run", "took", time.Since(start).Round(time.Millisecond))
	}
	return nil
}

func (r *Runner) runOne(ctx context.Context, log *slog.Logger, argv, env []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.Config.Timeout, fmt.Errorf("%w after %v", context.DeadlineExceeded, r.Config.Timeout))
	defer cancel()
	result, err := command.Run(ctx, argv, command.Options{Env: env, Line: func(line string) { log.Info(line) }})
	if err != nil {
		return err
	}
	if result.ExitCode != 0 {
		return fmt.Errorf("%s: %w", argv[0], result.ExitError())
	}
	return nil
}
