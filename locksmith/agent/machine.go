package agent

import (
	"context"
	"time"

	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/health"
	"github.com/coordd/coordd/locksmith/hooks"
	"github.com/coordd/coordd/locksmith/login1"
)

// Machine is what an agent needs from the machine it runs on: a [Host], or one
// that is simulated. All calls end soon after ctx does.
type Machine interface {
	// BootID names the present boot: it differs after every boot, and after every soft reboot.
	BootID(ctx context.Context) (string, error)
	// Uptime is how long ago the present boot began.
	Uptime(ctx context.Context) (time.Duration, error)
	// Member is the machine's name in the store's cluster, "" if it is no member.
	Member(ctx context.Context) (string, error)
	// Wanted returns why a reboot is wanted, none if it is not. An error takes nothing from the reasons.
	Wanted(ctx context.Context) (reasons []string, err error)
	// Blocks returns what forbids a reboot now.
	Blocks(ctx context.Context) []blocker.Reason

	// Sessions are those who are logged in.
	Sessions(ctx context.Context) ([]login1.Session, error)
	// Warn tells them that the machine reboots at a time, and why.
	Warn(ctx context.Context, why string, at time.Time) error
	// Unwarn takes that back.
	Unwarn(ctx context.Context) error

	// Before runs the programs before a reboot, After those after it.
	Before(ctx context.Context, r hooks.Reboot) error
	After(ctx context.Context, r hooks.Reboot) error
	// Health runs the checks once.
	Health(ctx context.Context) health.Report

	// Reboot asks for the reboot. nil means that the machine goes down, an error
	// with [login1.ErrUncertain] that it may, and any other that it does not.
	Reboot(ctx context.Context) error
	// GoingDown reports whether a shutdown is under way.
	GoingDown(ctx context.Context) (bool, error)
}
