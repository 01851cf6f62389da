// Command locksmithd is the agent on a machine that must not reboot at the same
// time as too many others: it waits until a reboot is wanted, takes a slot of the
// machine's group in a coordd or an etcd cluster, reboots, and gives the slot back
// when the machine has come back.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // windows name zones, and not every machine has their rules

	"github.com/coordd/coordd/locksmith/agent"
	"github.com/coordd/coordd/locksmith/slots"
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

// run is the life of the agent: until the reboot is under way or ctx ends.
func run(ctx context.Context, o *options) error {
	id, err := o.machineID()
	if err != nil {
		return err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("locksmithd: %w", err)
	}
	host, err := o.host()
	if err != nil {
		return err
	}
	client, err := slots.NewClient(o.client)
	if err != nil {
		return err
	}
	defer client.Close()
	group, err := slots.NewGroup(client, slots.DefaultPrefix, o.group)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("machine", id, "group", o.group)
	a, err := agent.New(agent.Config{
		Group: group, Machine: host, ID: id, Hostname: hostname, Zone: o.zone, Reason: o.reason,
		Poll: o.poll, BackOff: o.backOff, Log: log,
	})
	if err != nil {
		return err
	}
	log.Info("started", "endpoints", o.client.Endpoints)
	a.Run(ctx)
	log.Info("ended", "state", a.State().String())
	return nil
}
