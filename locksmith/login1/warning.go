package login1

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// dryReboot is the kind of scheduled shutdown that logind announces and does not carry out.
const dryReboot = "dry-reboot"

// ErrScheduled says that somebody else has scheduled a shutdown.
var ErrScheduled = errors.New("somebody else has scheduled a shutdown")

// Warn has logind tell everybody who is logged in, now and more often as the
// time draws near, that the machine will reboot at that time, and why; in the last
// five minutes nobody but root can log in. It is the warning of a scheduled
// shutdown and no more than that: when the time has come, logind does nothing, and
// a warning is not left behind when the agent ends. A second Warn replaces the first.
//
// logind knows one scheduled shutdown: where there is one that is not a warning,
// Warn changes nothing and returns ErrScheduled.
func (c *Conn) Warn(ctx context.Context, why string, at time.Time) error {
	kind, _, err := c.Scheduled(ctx)
	if err != nil {
		return err
	}
	if kind != "" && kind != dryReboot {
		return fmt.Errorf("login1: warn of a reboot: %w (%s)", ErrScheduled, kind)
	}
	if err := c.SetWallMessage(ctx, why, true); err != nil {
		return err
	}
	if err := c.ask(ctx, "ScheduleShutdown", []any{dryReboot, uint64(at.UnixMicro())}); err != nil {
		return fmt.Errorf("login1: warn of a reboot: %w", err)
	}
	return nil
}

// Unwarn ends a warning before its time has come: everybody is told, and can log
// in again. A shutdown that somebody else has scheduled stands.
func (c *Conn) Unwarn(ctx context.Context) error {
	kind, _, err := c.Scheduled(ctx)
	if err != nil || kind != dryReboot {
		return err
	}
	if err := c.ask(ctx, "CancelScheduledShutdown", nil, new(bool)); err != nil {
		return fmt.Errorf("login1: take back the warning of a reboot: %w", err)
	}
	return nil
}

// Scheduled returns the shutdown that is scheduled, as shutdown(8) does: its kind
// (reboot, poweroff, dry-reboot, …) and its time. The kind is empty where there is
// none. A reboot that is asked for ends it.
func (c *Conn) Scheduled(ctx context.Context) (kind string, at time.Time, err error) {
	var scheduled struct { // (st)
		Kind string
		At   uint64 // µs since 1970
	}
	if err := c.property(ctx, "ScheduledShutdown", &scheduled); err != nil {
		return "", time.Time{}, fmt.Errorf("login1: is a shutdown scheduled: %w", err)
	}
	return scheduled.Kind, time.UnixMicro(int64(scheduled.At)), nil
}
