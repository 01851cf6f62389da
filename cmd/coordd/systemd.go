package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/coordd/coordd/coordd"
	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd, where it asks to be told, how far the member is.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd cannot be notified", "state", state, "error", err)
	}
}

// inheritedSockets are those that systemd listens on for this process
// (socket activation). Their names are those of FileDescriptorName=.
func inheritedSockets() ([]coordd.Socket, error) {
	var sockets []coordd.Socket
	for _, file := range activation.Files(true) {
		l, err := net.FileListener(file) // which has a descriptor of its own
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("socket %s that systemd has handed over: %w; use ListenStream= in the socket unit", file.Name(), err)
		}
		sockets = append(sockets, coordd.Socket{Name: file.Name(), Listener: l})
	}
	return sockets, nil
}

// watchdog tells systemd that the member is alive, three times within the time
// that WatchdogSec= gives it, until ctx ends. Where the member's replication
// stands still or its disk hangs it says nothing, and systemd starts it anew.
func watchdog(ctx context.Context, alive func(context.Context) error, log *slog.Logger) {
	patience, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog is not served", "error", err)
	}
	if patience == 0 {
		return
	}
	ticker := time.NewTicker(max(patience/3, time.Millisecond))
	defer ticker.Stop()
	for {
		probe, cancel := context.WithTimeout(ctx, patience/2)
		err := alive(probe)
		cancel()
		if err == nil {
			notify(log, daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			log.Error("this member stands still; systemd is not told that it is alive", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
