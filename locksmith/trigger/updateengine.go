package trigger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/line"
)

const (
	engineService = "com.coreos.update1"
	enginePath    = dbus.ObjectPath("/com/coreos/update1")
	engineManager = "com.coreos.update1.Manager"
	needReboot    = "UPDATE_STATUS_UPDATED_NEED_REBOOT"
)

// updateEngine follows update_engine of CoreOS and Flatcar on the system bus. A
// reboot is wanted while its last status says so, also when it has ended since; and
// once somebody else asks for one with the same signal, as locksmithctl
// send-need-reboot does, until this process ends. Anybody may send that signal: it
// counts from root, and from the user of this process.
//
// It is a dbus.SignalHandler. What signals say is kept as it comes, so that no
// queue of them can grow or overflow.
type updateEngine struct {
	notify func()
	log    *slog.Logger
	ready  chan struct{} // closed after the first attempt to connect
	wake   chan struct{} // holds a value while the listener has something to ask

	ignored time.Time // when a request was last said to be ignored; the listener's alone

	mu        sync.Mutex // guards what follows
	err       error      // why it is not listened to; nil while it is
	owner     heard[string]
	status    heard[status]
	requested bool     // by somebody who may
	strangers []string // connections that request a reboot and are still to be looked at, at most maxStrangers
}

// maxStrangers bounds how many connections wait to be looked at.
const maxStrangers = 16

// heard is the newest that was heard of something over one connection. Answers
// and signals overtake each other on their way through this process.
type heard[T any] struct {
	value T
	at    dbus.Sequence
}

func (h *heard[T]) hear(value T, at dbus.Sequence) {
	if at >= h.at {
		h.value, h.at = value, at
	}
}

// status is one of update_engine's.
type status struct {
	operation string
	version   string // of the update
	err       error  // it makes no sense
}

func newUpdateEngine(notify func(), log *slog.Logger) *updateEngine {
	return &updateEngine{notify: notify, log: log, ready: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// Name is update_engine.
func (*updateEngine) Name() string { return "update_engine" }

// Wanted returns what is known. It waits for the first attempt to connect to the bus.
func (u *updateEngine) Wanted(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	select {
	case <-u.ready:
	case <-ctx.Done():
		return "", fmt.Errorf("not connected yet: %w", context.Cause(ctx))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.status.value
	switch {
	case u.requested: // also while the bus is away: who has asked is not there to be asked again
		return "requested by send-need-reboot", nil
	case u.err != nil:
		return "", u.err
	case s.err != nil:
		return "", s.err
	case s.operation != needReboot:
		return "", nil
	case s.version == "":
		return "an update is installed", nil
	}
	return line.Of("an update to "+s.version+" is installed", maxWhy), nil
}

// DeliverSignal is called for one signal after another.
func (u *updateEngine) DeliverSignal(iface, member string, s *dbus.Signal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case s.Sender == "org.freedesktop.DBus" && member == "NameOwnerChanged":
		if len(s.Body) == 3 && s.Body[0] == engineService {
			owner, _ := s.Body[2].(string)
			u.owner.hear(owner, s.Sequence)
			u.wakeListener()
		}
	case iface == engineManager && member == "StatusUpdate" && s.Path == enginePath:
		u.hearStatus(s)
	}
}

// hearStatus takes up a status. u.mu is held.
func (u *updateEngine) hearStatus(s *dbus.Signal) {
	status := parseStatus(s.Body)
	switch {
	case s.Sender == u.owner.value:
		u.status.hear(status, s.Sequence)
		u.notify()
	case status.operation == needReboot && len(u.strangers) < maxStrangers && !slices.Contains(u.strangers, s.Sender):
		u.strangers = append(u.strangers, s.Sender)
		u.wakeListener()
	}
}

func (u *updateEngine) wakeListener() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// parseStatus reads the body of StatusUpdate and of the answer to GetStatus: when it was last looked for an update, the
// progress, the operation, the version and the size of the update.
func parseStatus(body []any) status {
	bad := status{err: errors.New("its status cannot be understood")}
	if len(body) != 5 {
		return bad
	}
	_, ok1 := body[0].(int64)
	_, ok2 := body[1].(float64)
	operation, ok3 := body[2].(string)
	version, ok4 := body[3].(string)
	_, ok5 := body[4].(int64)
	if !(ok1 && ok2 && ok3 && ok4 && ok5) {
		return bad
	}
	return status{operation: operation, version: version}
}
