package health

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/coordd/coordd/locksmith/bus"
)

// Where the service manager is on the bus.
const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = "/org/freedesktop/systemd1"
	systemdManager = "org.freedesktop.systemd1.Manager"
	systemdUnit    = "org.freedesktop.systemd1.Unit"
)

// systemd is a connection to the service manager. It may be used concurrently.
type systemd struct{ conn *dbus.Conn }

func (s systemd) manager() dbus.BusObject { return s.conn.Object(systemdName, systemdPath) }

// askSystemd makes a look of a question, with a connection of its own.
func askSystemd(question func(systemd, context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		conn, err := bus.Connect(ctx, nil)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		return question(systemd{conn}, ctx)
	}
}

// unit is what is asked about a unit. What the service manager does not tell stays empty.
type unit struct {
	name               string
	loadState          string // loaded, not-found, masked, …
	activeState, sub   string // active, failed, …; running, exited, …
	invocation         string // another one after each start
	wantedBy, neededBy []string
}

// property reads one property of the manager.
func (s systemd) property(ctx context.Context, name string, value any) error {
	return bus.Call(ctx, s.manager(), "org.freedesktop.DBus.Properties.Get", []any{systemdManager, name}, value)
}

// unit asks about one unit, and loads it where it is not in memory.
func (s systemd) unit(ctx context.Context, name string) (unit, error) {
	var path dbus.ObjectPath
	if err := bus.Call(ctx, s.manager(), systemdManager+".LoadUnit", []any{name}, &path); err != nil {
		return unit{}, err
	}
	var all map[string]dbus.Variant
	object := s.conn.Object(systemdName, path)
	if err := bus.Call(ctx, object, "org.freedesktop.DBus.Properties.GetAll", []any{systemdUnit}, &all); err != nil {
		return unit{}, err
	}
	u := unit{name: name}
	u.loadState, _ = all["LoadState"].Value().(string)
	u.activeState, _ = all["ActiveState"].Value().(string)
	u.sub, _ = all["SubState"].Value().(string)
	u.wantedBy, _ = all["WantedBy"].Value().([]string)
	u.neededBy, _ = all["RequiredBy"].Value().([]string)
	id, _ := all["InvocationID"].Value().([]byte)
	u.invocation = hex.EncodeToString(id)
	return u, nil
}

// inactive says why a unit does not count as active, or nil.
func (u *unit) inactive() error {
	switch {
	case slices.Contains([]string{"active", "reloading", "refreshing"}, u.activeState): // as systemctl is-active has it
		return nil
	case u.loadState != "loaded":
		return fmt.Errorf("is %s", cmp.Or(u.loadState, "in no known state"))
	}
	return fmt.Errorf("is %s (%s)", u.activeState, u.sub)
}

func (s systemd) checkUnit(ctx context.Context, name string) (instance string, err error) {
	u, err := s.unit(ctx, name)
	if err != nil {
		return "", err
	}
	return u.invocation, u.inactive()
}

// checkBootComplete asks for boot-complete.target. That target is pulled in by those
// who need it alone, and many distributions have no such unit: there it is never
// reached, and the default target is what a boot leads to.
func (s systemd) checkBootComplete(ctx context.Context) (instance string, err error) {
	u, err := s.unit(ctx, "boot-complete.target")
	if err != nil {
		return "", err
	}
	if u.activeState != "active" && len(u.wantedBy) == 0 && len(u.neededBy) == 0 {
		if u, err = s.unit(ctx, "default.target"); err != nil {
			return "", err
		}
	}
	if err := u.inactive(); err != nil {
		return "", fmt.Errorf("%s %w", u.name, err)
	}
	return "", nil
}

// listed is an entry of a list of units.
type listed struct {
	Name, Description, LoadState, ActiveState, SubState, Followed string
	Path                                                          dbus.ObjectPath
	JobID                                                         uint32
	JobType                                                       string
	JobPath                                                       dbus.ObjectPath
}

// checkRunning asks for the state of the whole system, and names what has failed.
func (s systemd) checkRunning(ctx context.Context) (instance string, err error) {
	var state string
	if err := s.property(ctx, "SystemState", &state); err != nil {
		return "", err
	}
	if state == "running" {
		return "", nil
	}
	var failed []listed
	if err := bus.Call(ctx, s.manager(), systemdManager+".ListUnitsFiltered", []any{[]string{"failed"}}, &failed); err != nil {
		return "", fmt.Errorf("is %s; list the failed units: %w", state, err)
	}
	if len(failed) == 0 {
		return "", fmt.Errorf("is %s", state)
	}
	var names []string
	for _, u := range failed[:min(len(failed), maxQuoted)] {
		names = append(names, u.Name)
	}
	if more := len(failed) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return "", fmt.Errorf("is %s: failed are %s", state, strings.Join(names, ", "))
}

// SinceBoot tells how long ago this system was started, as its service manager
// has it. In a container that is the start of the container, where the kernel
// would tell of the host's.
func SinceBoot(ctx context.Context) (time.Duration, error) {
	conn, err := bus.Connect(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("health: ask for the time of the boot: %w", err)
	}
	defer conn.Close()
	var started uint64 // microseconds of the monotonic clock
	if err := (systemd{conn}).property(ctx, "UserspaceTimestampMonotonic", &started); err != nil {
		return 0, fmt.Errorf("health: ask for the time of the boot: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, fmt.Errorf("health: read the monotonic clock: %w", err)
	}
	since := time.Duration(now.Nano()) - time.Duration(started)*time.Microsecond
	if started == 0 || since < 0 {
		return 0, errors.New("health: the service manager does not know when it was started")
	}
	return since, nil
}
