// Package bus speaks to services on the system's D-Bus message bus.
//
// A connection is cheap, about a millisecond, and whoever asks a question opens
// one of its own and closes it afterwards. So nothing has to notice that the bus
// was restarted: the next question finds the new one. Only who listens for signals
// keeps a connection, and opens the next when it has ended.
package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/godbus/dbus/v5"
)

// Connect opens a connection to the system bus, at $DBUS_SYSTEM_BUS_ADDRESS where
// that is set. The connection ends with ctx, and when it is closed. Signals go to
// signals, one at a time and in their order; nil is nobody. DeliverSignal must
// neither block nor call the bus.
func Connect(ctx context.Context, signals dbus.SignalHandler) (*dbus.Conn, error) {
	if signals == nil {
		signals = nobody{}
	}
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx), dbus.WithSignalHandler(signals))
	if err != nil {
		return nil, fmt.Errorf("bus: connect: %w", because(ctx, err))
	}
	return conn, nil
}

// nobody hears no signal.
type nobody struct{}

func (nobody) DeliverSignal(string, string, *dbus.Signal) {}

// Refused is the answer of a service, or of the bus in its place, that is an error.
type Refused struct {
	Method string // with its interface
	Name   string // of the error, as org.freedesktop.DBus.Error.AccessDenied
	Text   string // for people; may be empty
}

func (e *Refused) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("bus: %s: %s", e.Method, e.Name)
	}
	return fmt.Sprintf("bus: %s: %s (%s)", e.Method, e.Text, e.Name)
}

// Names of errors with which the bus itself answers.
const (
	NoOwner       = "org.freedesktop.DBus.Error.NameHasNoOwner"
	NoService     = "org.freedesktop.DBus.Error.ServiceUnknown"
	UnknownMethod = "org.freedesktop.DBus.Error.UnknownMethod"
	UnknownObject = "org.freedesktop.DBus.Error.UnknownObject"
	InvalidArgs   = "org.freedesktop.DBus.Error.InvalidArgs"
	NoReply       = "org.freedesktop.DBus.Error.NoReply"
)

// IsRefused reports whether err is a Refused of one of these names.
func IsRefused(err error, names ...string) bool {
	var refused *Refused
	return errors.As(err, &refused) && slices.Contains(names, refused.Name)
}

// Call calls a method and stores its answer in results, which godbus converts
// the values to. An error that came as the answer is a *Refused; any other means
// that it is not known whether the call was acted upon.
func Call(ctx context.Context, object dbus.BusObject, method string, args []any, results ...any) error {
	return Answer(ctx, method, object.CallWithContext(ctx, method, 0, args...), results...)
}

// Answer stores the answer to a call of a method that has ended, as Call. Without results any answer will do.
func Answer(ctx context.Context, method string, call *dbus.Call, results ...any) error {
	var refused dbus.Error
	if errors.As(call.Err, &refused) {
		text := ""
		if len(refused.Body) > 0 {
			text, _ = refused.Body[0].(string)
		}
		return &Refused{Method: method, Name: refused.Name, Text: text}
	}
	if call.Err != nil {
		return fmt.Errorf("bus: %s: %w", method, because(ctx, call.Err))
	}
	if len(results) == 0 {
		return nil
	}
	if err := call.Store(results...); err != nil {
		return fmt.Errorf("bus: %s: read the answer: %w", method, err)
	}
	return nil
}

// ErrEnded says that the connection has ended: the bus was stopped, or has thrown this process out.
var ErrEnded = errors.New("the connection to the bus has ended")

// because returns why a call has failed: a connection that has ended fails with words of its own.
func because(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.EOF), errors.Is(err, dbus.ErrClosed):
		return ErrEnded
	}
	return err
}
