package login1

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrScheduled says that another shutdown is scheduled.
var ErrScheduled = errors.New("another shutdown is scheduled")

// Warn has logind tell everybody who is logged in, now and more often as the
// time draws near, that the machine will reboot at that time, and why; in the last
// five minutes nobody but root can log in. It is the warning of a scheduled
// shutdown and no more than that: when the time has come, logind does nothing, so
// a warning that an agent leaves behind reboots no machine.
//
// logind knows one scheduled shutdown. Where there is one already, for another
// time, Warn changes nothing and returns ErrScheduled.
func (c *Conn) Warn(ctx context.Context, why string, at time.Time) error {
	kind, scheduled, err := c.Scheduled(ctx)
	if err != nil {
		return err
	}
	if kind != "" && !sameTime(scheduled, at) {
		return fmt.Errorf("login1: warn of a reboot: %w: %s at %s", ErrScheduled, kind, scheduled.UTC().Format(time.DateTime+"Z"))
	}
	if err := c.SetWallMessage(ctx, why, true); err != nil {
		return err
	}
	// A dry run is announced and not carried out.
	if err := c.ask(ctx, "ScheduleShutdown", []any{"dry-reboot", uint64(at.UnixMicro())}); err != nil {
		return fmt.Errorf("login1: warn of a reboot: %w", err)
	}
	return nil
}

// Unwarn takes back the warning of a reboot at that time: everybody is told, and
// can log in again. Any other scheduled shutdown stands: it is told by its time,
// since logind does not tell a dry run from a real one.
func (c *Conn) Unwarn(ctx context.Context, at time.Time) error {
	kind, scheduled, err := c.Scheduled(ctx)
	if err != nil || kind == "" || !sameTime(scheduled, at) {
		return err
	}
	if err := c.ask(ctx, "CancelScheduledShutdown", nil, new(bool)); err != nil {
		return fmt.Errorf("login1: take back the warning of a reboot: %w", err)
	}
	return nil
}

// Scheduled returns the shutdown that is scheduled, by shutdown(8) or Warn: its
// kind (reboot, poweroff, halt, …) and its time, or "" where there is none. A
// reboot that is asked for ends it, whatever it was.
func (c *Conn) Scheduled(ctx context.Context) (kind string, at time.Time, err error) {
	var scheduled struct { // (st)
		Kind string
		At   uint64 // µs since 1970
	}
	if err := c.property(ctx, "ScheduledShutdown", &scheduled); err != nil {
		return "", time.Time{}, fmt.Errorf("login1: is a shutdown scheduled: %w", err)
	}
	if scheduled.Kind == "" || scheduled.At == 0 { // a reboot that logind has cancelled leaves its kind behind
		return "", time.Time{}, nil
	}
	return scheduled.Kind, time.UnixMicro(int64(scheduled.At)), nil
}

// sameTime compares times as logind knows them.
func sameTime(a, b time.Time) bool { return a.UnixMicro() == b.UnixMicro() }
