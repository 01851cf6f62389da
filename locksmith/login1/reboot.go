package login1

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/bus"
)

// Flags of RebootWithFlags, as in systemd's sd-bus interface of logind.
const (
	checkInhibitors = 1 << 0 // block inhibitors of other users hold root back as well
	softReboot      = 1 << 2 // since systemd 254
)

// DefaultTimeout is how long logind may take to announce a reboot, or to take it
// back. A delay inhibitor holds it up for InhibitDelayMaxSec, five seconds unless it is configured.
const DefaultTimeout = 30 * time.Second

var (
	// ErrUncertain says that the machine may go down or stay up: the bus or the time ran out after logind was asked, or
	// another shutdown is under way.
	ErrUncertain = errors.New("it is not certain whether the machine goes down")
	// ErrCancelled says that logind has announced the reboot and taken it back.
	ErrCancelled = errors.New("logind has cancelled the reboot")
	// ErrNotAnnounced says that logind has agreed to the reboot, but does not prepare for it.
	ErrNotAnnounced = errors.New("logind has agreed to the reboot, but does not prepare for it")
	// ErrNotSupported says that logind is too old for a soft reboot.
	ErrNotSupported = errors.New("a soft reboot needs systemd 254 or later")
)

// Reboot asks for a reboot, without asking anybody for a password, and returns nil
// when the machine goes down: logind has announced the shutdown and, as far as can
// be seen within timeout, did not take it back. Before systemd 257 logind holds this
// process back for the block inhibitors of other users alone: ask Inhibitors first.
//
// It waits for each of both for timeout at most, for DefaultTimeout if that
// is 0. Where the machine goes down, it may never return.
//
// An error with ErrUncertain among them leaves open whether the machine goes
// down. Any other means that it does not: a *bus.Refused of logind,
// ErrNotAnnounced or ErrCancelled.
func (c *Conn) Reboot(ctx context.Context, timeout time.Duration) error {
	return c.shutDown(ctx, timeout, checkInhibitors)
}

// SoftReboot restarts user space alone, as Reboot. Before systemd 254 it is ErrNotSupported.
func (c *Conn) SoftReboot(ctx context.Context, timeout time.Duration) error {
	err := c.shutDown(ctx, timeout, checkInhibitors|softReboot)
	// A logind that does not know a flag says so with this name.
	if bus.IsRefused(err, bus.InvalidArgs, bus.UnknownMethod) {
		return fmt.Errorf("%w: %w", ErrNotSupported, err)
	}
	return err
}

func (c *Conn) shutDown(ctx context.Context, timeout time.Duration, flags uint64) error {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	s, err := listen(ctx)
	if err != nil {
		return fmt.Errorf("login1: reboot: %w", err)
	}
	defer s.conn.Close()
	if err := s.start(ctx, timeout, flags); err != nil {
		return fmt.Errorf("login1: reboot: %w", err)
	}
	if s.isCancelled(ctx, timeout) {
		return fmt.Errorf("login1: reboot: %w", ErrCancelled)
	}
	return nil
}

// shutdown is one attempt to shut the machine down.
type shutdown struct {
	conn      *dbus.Conn
	logind    dbus.BusObject
	announced announcements
}

// listen subscribes to logind's announcements. Those made from here on are heard.
func listen(ctx context.Context) (*shutdown, error) {
	s := &shutdown{announced: announcements{heard: make(chan bool, 16)}}
	conn, err := bus.Connect(ctx, &s.announced)
	if err != nil {
		return nil, err
	}
	s.conn, s.logind = conn, conn.Object(service, path)
	err = conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(service), dbus.WithMatchObjectPath(path),
		dbus.WithMatchInterface(manager), dbus.WithMatchMember("PrepareForShutdown"))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("subscribe to PrepareForShutdown: %w", err)
	}
	// A question that changes nothing starts logind where it is started by the bus.
	if err := readProperty(ctx, s.logind, "PreparingForShutdown", new(bool)); err != nil {
		conn.Close()
		return nil, err
	}
	var owner string
	if err := bus.Call(ctx, conn.BusObject(), "org.freedesktop.DBus.GetNameOwner", []any{service}, &owner); err != nil {
		conn.Close()
		return nil, err
	}
	s.announced.logind.Store(&owner)
	return s, nil
}

// start returns nil once logind prepares for the shutdown that it is asked for.
func (s *shutdown) start(ctx context.Context, timeout time.Duration, flags uint64) error {
	err := s.ask(ctx, timeout, flags)
	if err == nil {
		return s.awaitStart(ctx, timeout)
	}
	if errors.Is(err, ErrUncertain) && s.announced.isPreparing() { // instead of an answer
		return nil
	}
	return err
}

// ask asks for the reboot and reads the answer.
func (s *shutdown) ask(ctx context.Context, timeout time.Duration, flags uint64) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := bus.Call(ctx, s.logind, manager+".RebootWithFlags", []any{flags})
	if flags&softReboot == 0 && bus.IsRefused(err, bus.UnknownMethod) { // an older logind
		err = bus.Call(ctx, s.logind, manager+".Reboot", []any{false})
	}
	if err == nil {
		return nil
	}
	var refused *bus.Refused
	if errors.As(err, &refused) && !bus.IsRefused(err, bus.NoReply, operationInProgress) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err)
}

// operationInProgress is logind's answer while another shutdown, or a suspension, is under way.
const operationInProgress = "org.freedesktop.login1.OperationInProgress"

// awaitStart returns nil once logind prepares for the shutdown.
func (s *shutdown) awaitStart(ctx context.Context, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		start, err := s.hear(ctx, timer.C)
		switch {
		case errors.Is(err, errTimeIsUp):
			return s.wasStarted(ctx)
		case err != nil:
			return fmt.Errorf("%w: %w", ErrUncertain, err)
		case start:
			return nil
		}
	}
}

var errTimeIsUp = errors.New("the time is up")

// hear returns the next announcement, or why there is none: errTimeIsUp, the end of the connection or that of ctx.
func (s *shutdown) hear(ctx context.Context, timeIsUp <-chan time.Time) (start bool, err error) {
	select {
	case start := <-s.announced.heard:
		return start, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-s.conn.Context().Done():
		err = bus.ErrEnded
	case <-timeIsUp:
		err = errTimeIsUp
	}
	select {
	case start := <-s.announced.heard: // before that
		return start, nil
	default:
		return false, err
	}
}

// wasStarted asks for what was not heard.
func (s *shutdown) wasStarted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	var preparing bool
	if err := readProperty(ctx, s.logind, "PreparingForShutdown", &preparing); err != nil {
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	if !preparing {
		return ErrNotAnnounced
	}
	return nil
}

const questionTimeout = 10 * time.Second

// isCancelled reports whether logind takes back what it has announced. That the
// bus or this process is told to end meanwhile is what a shutdown looks like.
func (s *shutdown) isCancelled(ctx context.Context, timeout time.Duration) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		start, err := s.hear(ctx, timer.C)
		if err != nil {
			return false
		}
		if !start {
			return true
		}
	}
}
