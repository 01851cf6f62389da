// Command locksmithd is the agent on a machine that must not reboot at the same
// time as too many others: it waits until a reboot is wanted, takes a slot of the
// machine's group in a coordd or an etcd cluster, reboots, and gives the slot back
// when the machine has come back well.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // windows name zones, and not every machine has their rules
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := newCommand(os.Environ())
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
