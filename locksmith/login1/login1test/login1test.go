// Package login1test is a logind for tests: on a bus of its own, doing what the test says.
package login1test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/bus/bustest"
	"github.com/coordd/coordd/locksmith/login1"
)

const (
	path    = dbus.ObjectPath("/org/freedesktop/login1")
	manager = "org.freedesktop.login1.Manager"
)

// Logind answers as logind of systemd 252 does for root. Its methods may be called concurrently.
type Logind struct {
	Bus  *bustest.Bus
	t    testing.TB
	conn *dbus.Conn

	mu         sync.Mutex // guards what follows
	inhibitors []login1.Inhibitor
	sessions   []login1.Session
	exported   int               // paths of sessions ever made, so that none is used twice
	paths      []dbus.ObjectPath // of sessions
	errors     map[string]*dbus.Error
	onReboot   func()
	preparing  bool
	reboots    []uint64
	canReboot  string
	flags      uint64 // that RebootWithFlags knows
	wall       Wall
	scheduled  scheduled
	dry        bool // the scheduled shutdown is only announced
}

// Wall is what everybody is told of a shutdown.
type Wall struct {
	Text    string
	Enabled bool
}

// scheduled is a shutdown to come, as the property has it.
type scheduled struct {
	Kind string // empty for none
	At   uint64 // µs since 1970
}

// nothing is scheduled.
var nothing = scheduled{At: math.MaxUint64}

// Start starts a bus, which becomes the system bus of the test, and a logind on it
// that agrees to everything: nobody is logged in, and a reboot is announced before
// it is agreed to, as the real one does. Both end with the test.
func Start(t testing.TB) *Logind {
	t.Helper()
	l := &Logind{Bus: bustest.Start(t), t: t, errors: map[string]*dbus.Error{}, canReboot: "yes", flags: 1<<0 | 1<<1, scheduled: nothing}
	l.onReboot = func() { l.Prepare(true) }
	l.Run()
	return l
}

// Run connects logind to the bus, again after the bus was stopped and started.
func (l *Logind) Run() {
	l.t.Helper()
	l.conn = l.Bus.Serve("org.freedesktop.login1", path, manager, service{l})
	if err := l.conn.Export(properties{l}, path, "org.freedesktop.DBus.Properties"); err != nil {
		l.t.Fatal(err)
	}
}

// End disconnects logind from the bus, as when it has crashed. Run starts it again.
func (l *Logind) End() { l.conn.Close() }

// Clients returns the unique names of all who are connected to the bus.
func (l *Logind) Clients() []string {
	var names []string
	if err := l.conn.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
		l.t.Error(err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, ":") })
}

// SetInhibitors sets the locks that are held.
func (l *Logind) SetInhibitors(list ...login1.Inhibitor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inhibitors = list
}

// SetSessions sets who is logged in.
func (l *Logind) SetSessions(list ...login1.Session) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.paths {
		l.conn.Export(nil, p, "org.freedesktop.DBus.Properties")
	}
	l.sessions, l.paths = list, nil
	for _, s := range list {
		l.exported++
		p := dbus.ObjectPath(fmt.Sprintf("%s/session/_%d", path, l.exported))
		if err := l.conn.Export(sessionProperties{s}, p, "org.freedesktop.DBus.Properties"); err != nil {
			l.t.Fatal(err)
		}
		l.paths = append(l.paths, p)
	}
}

// EndSession makes the i-th session one that is listed and is gone when it is asked about.
func (l *Logind) EndSession(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn.Export(ended{}, l.paths[i], "org.freedesktop.DBus.Properties")
}

// Refuse makes a method of the manager answer with an error from now on. An empty name ends that.
func (l *Logind) Refuse(method, name, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name == "" {
		delete(l.errors, method)
		return
	}
	l.errors[method] = dbus.NewError(name, []any{text})
}

// OnReboot sets what happens when a reboot was asked for and not refused, before
// the answer. It may call Prepare and Bus.Stop.
func (l *Logind) OnReboot(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onReboot = do
}

// Prepare announces that the machine shuts down, or that it does not any more.
func (l *Logind) Prepare(start bool) {
	l.SetPreparing(start)
	if err := l.conn.Emit(path, manager+".PrepareForShutdown", start); err != nil {
		l.t.Error(err)
	}
}

// SetPreparing sets the property alone, without an announcement.
func (l *Logind) SetPreparing(preparing bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.preparing = preparing
}

// SetCanReboot sets the answer to CanReboot.
func (l *Logind) SetCanReboot(answer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.canReboot = answer
}

// KnowSoftReboot makes it a logind of systemd 254.
func (l *Logind) KnowSoftReboot() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flags |= 1 << 2
}

// Reboots returns the flags of every reboot that was asked for and not refused. It was Reboot, without flags, for 0.
func (l *Logind) Reboots() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.reboots)
}

// Wall returns what SetWallMessage has set.
func (l *Logind) Wall() Wall {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wall
}

// Scheduled returns the shutdown that is scheduled, and whether it is a dry run. The kind is "" for none.
func (l *Logind) Scheduled() (kind string, at time.Time, dry bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.scheduled.Kind, time.UnixMicro(int64(l.scheduled.At)), l.dry
}

// Schedule sets the shutdown that is scheduled, as an operator would with shutdown(8).
func (l *Logind) Schedule(kind string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.scheduled, l.dry = scheduled{kind, uint64(at.UnixMicro())}, false
}
