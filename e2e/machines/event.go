package machines

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// What happened to a machine.
type What string

const (
	Booting  What = "booting"  // its power is on
	Up       What = "up"       // the units it must run are active; Boot says under which boot id
	Stopping What = "stopping" // its shutdown has begun
	Cut      What = "cut"      // its power was taken
	Ended    What = "ended"    // it has ended; Detail says how
	Parted   What = "parted"   // its link was taken
	Joined   What = "joined"   // its link was given back
)

// Event is one line of a fleet's history.
type Event struct {
	At      time.Time
	Machine string
	What    What
	Boot    string // boot id, with Up and Stopping
	Detail  string // for people
}

func (e Event) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", e.At.Format("15:04:05.000"), e.Machine, e.What, e.Boot, e.Detail))
}

// record appends to the history.
func (f *Fleet) record(machine string, what What, boot, detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, Event{time.Now(), machine, what, boot, detail})
	close(f.news)
	f.news = make(chan struct{})
}

// Events is the history so far.
func (f *Fleet) Events() []Event {
	events, _ := f.present()
	return events
}

// present returns the history, and a channel that is closed when there is more of it.
func (f *Fleet) present() ([]Event, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events[:len(f.events):len(f.events)], f.news
}

// Await waits until the history is as wanted; what says in an error what that is.
func (f *Fleet) Await(ctx context.Context, what string, wanted func([]Event) bool) error {
	for {
		events, news := f.present()
		if wanted(events) {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("machines: wait for %s: %w", what, ctx.Err())
		}
	}
}
