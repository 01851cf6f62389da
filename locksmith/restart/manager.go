package restart

import (
	"context"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/bus"
)

const (
	systemdName      = "org.freedesktop.systemd1"
	systemdPath      = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerInterface = systemdName + ".Manager"
)

// Manager is systemd, asked over the system's bus: at DBUS_SYSTEM_BUS_ADDRESS or
// where it usually is. Each call opens the bus anew, because between two of them a
// restart may wait for hours, and the bus be started anew as well.
type Manager struct{}

func call(ctx context.Context, conn *dbus.Conn, method string, args ...any) *dbus.Call {
	return conn.Object(systemdName, systemdPath).CallWithContext(ctx, managerInterface+"."+method, 0, args...)
}

// Restart is [Systemd]'s.
func (Manager) Restart(ctx context.Context, unit string) error {
	jobs := &jobEnds{results: map[dbus.ObjectPath]string{}, more: make(chan struct{}, 1)}
	conn, err := bus.Connect(ctx, jobs)
	if err != nil {
		return fmt.Errorf("restart of %s: %w", unit, err)
	}
	defer conn.Close()
	if err := jobs.listen(ctx, conn); err != nil { // before the job can end
		return fmt.Errorf("restart of %s: listen to systemd: %w", unit, err)
	}
	var job dbus.ObjectPath
	if err := call(ctx, conn, "RestartUnit", unit, "replace").Store(&job); err != nil {
		return fmt.Errorf("restart of %s: %w", unit, err)
	}
	result, err := jobs.await(ctx, conn, job)
	switch {
	case err != nil:
		return fmt.Errorf("restart of %s: %w", unit, err)
	case result != "done":
		return fmt.Errorf("restart of %s: %s", unit, result) // failed, timeout, canceled, dependency, …
	}
	return nil
}

// Status is [Systemd]'s.
func (Manager) Status(ctx context.Context, unit string) (s Status, err error) {
	conn, err := bus.Connect(ctx, nil)
	if err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", unit, err)
	}
	defer conn.Close()
	var path dbus.ObjectPath
	if err := call(ctx, conn, "LoadUnit", unit).Store(&path); err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", unit, err)
	}
	p, err := properties(ctx, conn, path, "Unit")
	if err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", unit, err)
	}
	invocation, _ := p["InvocationID"].Value().([]byte)
	s.Load, s.Active, s.Sub, s.Invocation = text(p["LoadState"]), text(p["ActiveState"]), text(p["SubState"]), string(invocation)
	if !strings.HasSuffix(unit, ".service") {
		return s, nil
	}
	if p, err = properties(ctx, conn, path, "Service"); err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", unit, err)
	}
	s.Result, s.OneShot = text(p["Result"]), text(p["Type"]) == "oneshot"
	s.ExitStatus, _ = p["ExecMainStatus"].Value().(int32)
	return s, nil
}

func properties(ctx context.Context, conn *dbus.Conn, unit dbus.ObjectPath, of string) (p map[string]dbus.Variant, err error) {
	err = conn.Object(systemdName, unit).CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", 0, systemdName+"."+of).Store(&p)
	return p, err
}

// text is a property's value, "" if it has none or is no text.
func text(v dbus.Variant) string {
	s, _ := v.Value().(string)
	return s
}

// unitTypes are the suffixes that make a name a unit's.
var unitTypes = []string{".service", ".socket", ".target", ".device", ".mount", ".automount", ".swap", ".timer", ".path", ".slice", ".scope"}

// UnitName makes a full name of what people write: nginx is nginx.service.
func UnitName(name string) string {
	for _, t := range unitTypes {
		if strings.HasSuffix(name, t) {
			return name
		}
	}
	return name + ".service"
}
