package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// service is a command that systemd may have started as a service, and that waits.
type service struct{ out io.Writer }

// report says what the command does, to systemctl status first: who then reads it in
// the journal, and asks, is told the same.
func (s *service) report(line string) {
	_, _ = daemon.SdNotify(false, "STATUS="+line) // nobody asks, or nobody listens any more
	fmt.Fprintln(s.out, line)
}

const (
	timeoutExtension = 60 * time.Second
	extendInterval   = 10 * time.Second
)

// extendTimeouts lets the command wait for longer than the unit's TimeoutStartSec=,
// until ctx ends: the command has bounds of its own. Without it systemd would kill
// one that waits for its turn; and so it kills only one that hangs.
func (s *service) extendTimeouts(ctx context.Context) {
	extend := func() (heard bool, err error) {
		return daemon.SdNotify(false, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", timeoutExtension.Microseconds()))
	}
	if heard, err := extend(); !heard || err != nil {
		return // not a service
	}
	go func() {
		again := time.NewTicker(extendInterval)
		defer again.Stop()
		for {
			select {
			case <-again.C:
				_, _ = extend() // the next one may be heard
			case <-ctx.Done():
				return
			}
		}
	}()
}
