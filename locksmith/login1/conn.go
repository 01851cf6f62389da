package login1

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/bus"
)

const (
	service = "org.freedesktop.login1"
	path    = dbus.ObjectPath("/org/freedesktop/login1")
	manager = "org.freedesktop.login1.Manager"
	session = "org.freedesktop.login1.Session"
)

// Conn asks logind. Its methods may be called concurrently; each connects to the
// system bus anew, so a bus that was restarted needs no care.
type Conn struct{}

// ask calls a method of the manager over a connection of its own.
func (*Conn) ask(ctx context.Context, method string, args []any, results ...any) error {
	conn, err := bus.Connect(ctx, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	return bus.Call(ctx, conn.Object(service, path), manager+"."+method, args, results...)
}

// property reads a property of the manager, likewise.
func (c *Conn) property(ctx context.Context, name string, value any) error {
	conn, err := bus.Connect(ctx, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	return readProperty(ctx, conn.Object(service, path), name, value)
}

func readProperty(ctx context.Context, logind dbus.BusObject, name string, value any) error {
	return bus.Call(ctx, logind, "org.freedesktop.DBus.Properties.Get", []any{manager, name}, value)
}
