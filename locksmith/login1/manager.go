package login1

import (
	"context"
	"fmt"
)

// CanReboot returns nil if this process may reboot the machine now, without a
// password. A block inhibitor is a reason why it may not, for a user who is not root
// and since systemd 257 for root.
func (c *Conn) CanReboot(ctx context.Context) error {
	var answer string
	if err := c.ask(ctx, "CanReboot", nil, &answer); err != nil {
		return fmt.Errorf("login1: may the machine be rebooted: %w", err)
	}
	switch answer {
	case "yes":
		return nil
	case "na":
		return fmt.Errorf("login1: this machine cannot be rebooted by logind (%s)", answer)
	case "no", "challenge":
		return fmt.Errorf("login1: this user may not reboot the machine (%s): polkit has to allow org.freedesktop.login1.reboot, and no block inhibitor may be held", answer)
	}
	return fmt.Errorf("login1: the machine may not be rebooted (%s)", answer) // inhibited, inhibitor-blocked, challenge-inhibitor-blocked
}

// IsShuttingDown reports whether a shutdown of any kind, by whomever, is under
// way. After ErrUncertain it tells, in time, whether the machine goes down.
func (c *Conn) IsShuttingDown(ctx context.Context) (bool, error) {
	var preparing bool
	if err := c.property(ctx, "PreparingForShutdown", &preparing); err != nil {
		return false, fmt.Errorf("login1: is the machine shutting down: %w", err)
	}
	return preparing, nil
}

// SetWallMessage sets what logind tells everybody who is logged in when it shuts
// the machine down, and whether it tells them. It stays set until logind is restarted.
func (c *Conn) SetWallMessage(ctx context.Context, text string, enable bool) error {
	if err := c.ask(ctx, "SetWallMessage", []any{text, enable}); err != nil {
		return fmt.Errorf("login1: set the wall message: %w", err)
	}
	return nil
}
