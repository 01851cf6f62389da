package restart

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"

	"github.com/coordd/coordd/locksmith/bus/bustest"
)

// systemd1 is what tests need of org.freedesktop.systemd1: one unit, whose jobs end
// as told.
type systemd1 struct {
	conn   *dbus.Conn
	result string // of the next job; empty: it never ends

	mu         sync.Mutex
	subscribed []dbus.Sender
	restarts   []string
}

const (
	unitPath = dbus.ObjectPath("/org/freedesktop/systemd1/unit/web_2eservice")
	jobPath  = dbus.ObjectPath("/org/freedesktop/systemd1/job/42")
)

func startSystemd1(t *testing.T) *systemd1 {
	t.Helper()
	s := &systemd1{conn: bustest.Start(t).Connect(), result: "done"}
	if err := s.conn.Export(s, systemdPath, managerInterface); err != nil {
		t.Fatal(err)
	}
	readable := func(value any) *prop.Prop { return &prop.Prop{Value: value, Emit: prop.EmitFalse} }
	_, err := prop.Export(s.conn, unitPath, prop.Map{
		systemdName + ".Unit": {
			"LoadState": readable("loaded"), "ActiveState": readable("failed"), "SubState": readable("failed"),
			"InvocationID": readable([]byte{1, 2, 3}),
		},
		systemdName + ".Service": {
			"Type": readable("oneshot"), "Result": readable("exit-code"), "ExecMainStatus": readable(int32(7)),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := s.conn.RequestName(systemdName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("name: %v, %v", reply, err)
	}
	return s
}

func (s *systemd1) Subscribe(sender dbus.Sender) *dbus.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribed = append(s.subscribed, sender)
	return nil
}

func (s *systemd1) LoadUnit(name string) (dbus.ObjectPath, *dbus.Error) {
	if name != unit {
		return "", dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"Unit " + name + " not found."})
	}
	return unitPath, nil
}

// RestartUnit ends the job before it answers, which is the worst that systemd can do
// to whoever listens, and another one before that.
func (s *systemd1) RestartUnit(sender dbus.Sender, name, mode string) (dbus.ObjectPath, *dbus.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restarts = append(s.restarts, name+" "+mode)
	if name != unit {
		return "", dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"Unit " + name + " not found."})
	}
	if s.result != "" && slices.Contains(s.subscribed, sender) {
		s.conn.Emit(systemdPath, managerInterface+".JobRemoved", uint32(41), dbus.ObjectPath("/org/freedesktop/systemd1/job/41"), "other.service", "failed")
		s.conn.Emit(systemdPath, managerInterface+".JobRemoved", uint32(42), jobPath, name, s.result)
	}
	return jobPath, nil
}

func (s *systemd1) next(result string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result = result
}

// TestForgedJob: any user may send a signal to any connection.
func TestForgedJob(t *testing.T) {
	for sender, want := range map[string]int{":1.1": 1, ":1.2": 0, "": 0} {
		j := &jobEnds{systemd: ":1.1", results: map[dbus.ObjectPath]string{}, more: make(chan struct{}, 1)}
		j.DeliverSignal("", "", &dbus.Signal{Sender: sender, Name: managerInterface + ".JobRemoved", Body: []any{uint32(42), jobPath, unit, "done"}})
		if len(j.results) != want {
			t.Errorf("from %q: %v", sender, j.results)
		}
	}
}

func TestManager(t *testing.T) {
	s := startSystemd1(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var m Manager
	if err := m.Restart(ctx, unit); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	if want := []string{"web.service replace"}; !slices.Equal(s.restarts, want) {
		t.Errorf("restarts %q, want %q", s.restarts, want)
	}
	s.mu.Unlock()
	for _, result := range []string{"failed", "timeout", "canceled", "dependency", "skipped"} {
		s.next(result)
		if err := m.Restart(ctx, unit); err == nil || err.Error() != "restart of web.service: "+result {
			t.Errorf("%s: %v", result, err)
		}
	}
	s.next("")
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := m.Restart(short, unit); err == nil {
		t.Error("a job without an end has ended")
	}
	if err := m.Restart(ctx, "no.service"); err == nil || !strings.Contains(err.Error(), "Unit no.service not found.") {
		t.Errorf("a unit that is not there: %v", err)
	}
}

func TestManagerStatus(t *testing.T) {
	startSystemd1(t)
	var m Manager
	got, err := m.Status(t.Context(), unit)
	want := Status{Load: "loaded", Active: "failed", Sub: "failed", Result: "exit-code", ExitStatus: 7, OneShot: true, Invocation: "\x01\x02\x03"}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if got.String() != "failed, exit-code, status 7" {
		t.Errorf("%q", got)
	}
	if _, err := m.Status(t.Context(), "no.service"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("a unit that is not there: %v", err)
	}
}

func TestManagerWithoutBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	if err := (Manager{}).Restart(t.Context(), unit); err == nil || !strings.Contains(err.Error(), "bus: connect") {
		t.Errorf("%v", err)
	}
}

// TestManagerOfASilentBus: a restart that waits for a bus daemon which hangs would keep its slot without a word.
func TestManagerOfASilentBus(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", socket) // and nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+socket)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := (Manager{}).Restart(ctx, unit); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if _, err := (Manager{}).Status(ctx, unit); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestUnitName(t *testing.T) {
	for name, want := range map[string]string{
		"nginx": "nginx.service", "nginx.service": "nginx.service", "a.b": "a.b.service", "worker@1": "worker@1.service",
		"dbus.socket": "dbus.socket", "multi-user.target": "multi-user.target",
	} {
		if got := UnitName(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
