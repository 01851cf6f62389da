package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/coordd/coordd/locksmith/line"
	"github.com/coordd/coordd/locksmith/slots"
)

// supervisor is who watches over the agent: the service manager, if it started
// this process, and whoever asks /healthz. What it hears comes from the agent's own
// loop, so that an agent that hangs falls silent.
type supervisor struct {
	watchdog time.Duration // of the unit; 0: none

	mu     sync.Mutex
	status slots.Status
	until  time.Time     // by when the agent has promised to be heard of again
	told   time.Duration // the watchdog's time that the service manager knows
	said   string        // the status text that it knows
}

func newSupervisor() *supervisor {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		watchdog = 0 // set for another process, or not to be understood: nobody waits for us
	}
	return &supervisor{watchdog: watchdog, told: watchdog, until: time.Now().Add(time.Minute)}
}

func (s *supervisor) ready()    { notify("READY=1") }
func (s *supervisor) stopping() { notify("STOPPING=1") }

// notify tells the service manager. Without one there is nobody to tell, and an
// error is the manager's business: it will miss us.
func notify(lines ...string) { _, _ = daemon.SdNotify(false, strings.Join(lines, "\n")) }

// tell takes the status, and when the agent will be heard of again. The watchdog's
// time follows the promise: hooks may take longer than a unit file knows.
func (s *supervisor) tell(status slots.Status, within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.until = status, time.Now().Add(within)
	var lines []string
	if said := describe(status); said != s.said {
		s.said = said
		lines = append(lines, "STATUS="+said)
	}
	if s.watchdog > 0 {
		if d := max(s.watchdog, within); d != s.told {
			s.told = d
			lines = append(lines, fmt.Sprintf("WATCHDOG_USEC=%d", d.Microseconds()))
		}
		lines = append(lines, "WATCHDOG=1")
	}
	if len(lines) > 0 {
		notify(lines...)
	}
}

// describe is the status on one line.
func describe(s slots.Status) string {
	text := s.State
	if s.Wanted != "" {
		text += "; wanted: " + s.Wanted
	}
	if len(s.Blocked) > 0 {
		text += "; " + strings.Join(s.Blocked, "; ")
	}
	if !s.Opens.IsZero() {
		text += "; opens " + s.Opens.Local().Format(time.RFC3339)
	}
	return line.Of(text, maxLine)
}

// maxLine bounds, in bytes, what is shown on one line. A notification that is too
// long for the service manager's socket is lost, with the word to the watchdog in it.
const maxLine = 2000

// alive returns the status, and an error if the agent has not kept its promise.
func (s *supervisor) alive(now time.Time) (status slots.Status, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if late := now.Sub(s.until); late > 0 {
		return s.status, fmt.Errorf("the agent hangs: it is %v late", late.Round(time.Second))
	}
	return s.status, nil
}
