package login1

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Inhibitor is a lock that a program holds against shutdown, sleep and the like.
type Inhibitor struct {
	What string // of what: some of shutdown, sleep, idle, …, with colons between them
	Who  string // the program, in its own words
	Why  string
	Mode string // block, delay, and since systemd 257 block-weak
	UID  uint32
	PID  uint32
}

// Inhibitors lists the locks that are held now. Those that hold up a reboot tell with BlocksShutdown.
func (c *Conn) Inhibitors(ctx context.Context) ([]Inhibitor, error) {
	var list []Inhibitor // a(ssssuu)
	if err := c.ask(ctx, "ListInhibitors", nil, &list); err != nil {
		return nil, fmt.Errorf("login1: list inhibitors: %w", err)
	}
	return list, nil
}

// BlocksShutdown reports whether a shutdown has to wait for the end of the lock.
// A block-weak lock, which systemd itself lets root and its owner pass, counts as
// well: until systemd 257 every block lock was one.
func (i Inhibitor) BlocksShutdown() bool {
	return (i.Mode == "block" || i.Mode == "block-weak") && slices.Contains(strings.Split(i.What, ":"), "shutdown")
}
