package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/bus/bustest"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/login1/login1test"
	"github.com/coordd/coordd/locksmith/slots"
	"github.com/coordd/coordd/locksmith/trigger"
)

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBootIDFile(t *testing.T) {
	h := &Host{BootIDFile: filepath.Join(t.TempDir(), "boot-id"), Command: []string{"true"}}
	if id, err := h.BootID(t.Context()); err == nil {
		t.Errorf("boot id %q of a missing file", id)
	}
	write(t, h.BootIDFile, " \n")
	if id, err := h.BootID(t.Context()); err == nil {
		t.Errorf("boot id %q of an empty file", id)
	}
	write(t, h.BootIDFile, "b00t\n")
	if id, err := h.BootID(t.Context()); err != nil || id != "b00t" {
		t.Errorf("boot id %q, %v", id, err)
	}
}

// properties is the part of systemd that counts soft reboots.
type properties struct {
	count atomic.Int64 // below 0: it does not count
}

func (p *properties) Get(_, name string) (dbus.Variant, *dbus.Error) {
	count := p.count.Load()
	if count < 0 || name != "SoftRebootsCount" {
		return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", nil)
	}
	return dbus.MakeVariant(uint32(count)), nil
}

// TestSoftReboots: a soft reboot is another boot, although the kernel's id stays.
func TestSoftReboots(t *testing.T) {
	b := bustest.Start(t)
	h := &Host{BootIDFile: filepath.Join(t.TempDir(), "boot-id")}
	write(t, h.BootIDFile, "b00t\n")
	want := func(want string) {
		t.Helper()
		if id, err := h.BootID(t.Context()); err != nil || id != want {
			t.Errorf("boot id %q, %v, want %q", id, err, want)
		}
	}
	want("b00t") // there is no systemd
	systemd := &properties{}
	systemd.count.Store(-1)
	b.Serve("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.DBus.Properties", systemd)
	want("b00t")
	systemd.count.Store(0)
	want("b00t")
	systemd.count.Store(2)
	want("b00t+2")
	b.Stop()
	if id, err := h.BootID(t.Context()); err == nil {
		t.Errorf("boot id %q although systemd could not be asked", id)
	}
}

func TestRebootCommand(t *testing.T) {
	for _, test := range []struct {
		command   []string
		want      string // in the error; empty: success
		uncertain bool
	}{
		{[]string{"true"}, "", false},
		{[]string{"sh", "-c", "echo an inhibitor is active >&2; exit 3"}, "an inhibitor is active", false},
		{[]string{"false"}, "exit code 1", false},
		{[]string{"/nowhere/reboot"}, "no such file", false},
		{[]string{"sh", "-c", "kill -KILL $$"}, "not certain", true}, // as when the machine goes down
		{[]string{"sleep", "60"}, "not certain", true},
	} {
		timeout := time.Minute
		if test.command[0] == "sleep" {
			timeout = 10 * time.Millisecond
		}
		err := (&Host{Command: test.command, Timeout: timeout}).Reboot(t.Context())
		if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) || errors.Is(err, login1.ErrUncertain) != test.uncertain {
			t.Errorf("%q: %v, want %q, uncertain %t", test.command, err, test.want, test.uncertain)
		}
	}
	h := &Host{Command: []string{"no-such-program", "now"}}
	if err := h.Check(); err == nil || !strings.Contains(err.Error(), "reboot.command") {
		t.Errorf("check: %v, want the setting's name", err)
	}
}

func TestReasonInsteadOfTheTriggers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wanted")
	triggers, err := trigger.New(trigger.Config{SentinelFile: file}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{Triggers: triggers, Reason: "a new kernel"}
	if reasons, err := h.Wanted(t.Context()); err != nil || len(reasons) != 0 {
		t.Errorf("%q, %v, without a wish", reasons, err)
	}
	write(t, file, "")
	if reasons, err := h.Wanted(t.Context()); err != nil || len(reasons) != 1 || reasons[0] != "a new kernel" {
		t.Errorf("%q, %v", reasons, err)
	}
}

// onLogind is a simulated machine with a real conversation with logind.
type onLogind struct {
	*simulated
	host *Host
}

func (m *onLogind) Reboot(ctx context.Context) error            { return m.host.Reboot(ctx) }
func (m *onLogind) GoingDown(ctx context.Context) (bool, error) { return m.host.GoingDown(ctx) }
func (m *onLogind) Sessions(ctx context.Context) ([]login1.Session, error) {
	return m.host.Sessions(ctx)
}
func (m *onLogind) Warn(ctx context.Context, why string, at time.Time) error {
	return m.host.Warn(ctx, why, at)
}
func (m *onLogind) Unwarn(ctx context.Context) error { return m.host.Unwarn(ctx) }

// TestLogind: what logind answers decides what becomes of the slot.
func TestLogind(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(l *login1test.Logind)
		want    []State
		reason  string
	}{
		"it goes": {func(l *login1test.Logind) {}, []State{Gone}, ""},
		"it refuses": {func(l *login1test.Logind) {
			l.Refuse("RebootWithFlags", "org.freedesktop.login1.OperationInProgress", "there is already a shutdown in progress?")
			l.Refuse("Reboot", "org.freedesktop.DBus.Error.AccessDenied", "Permission denied")
			l.Refuse("RebootWithFlags", "org.freedesktop.DBus.Error.AccessDenied", "Permission denied")
		}, []State{GivingUp, BackingOff}, "Permission denied"},
		"PrepareForShutdown never comes": {func(l *login1test.Logind) { l.OnReboot(func() {}) }, []State{GivingUp, BackingOff}, "does not prepare for it"},
		"it is cancelled": {func(l *login1test.Logind) { l.OnReboot(func() { l.Prepare(true); l.Prepare(false) }) },
			[]State{GivingUp, BackingOff}, "cancelled"},
		"the bus breaks off": {func(l *login1test.Logind) { l.OnReboot(func() { l.Bus.Stop() }) }, []State{Asked}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			logind := login1test.Start(t)
			inWorld(t, func(w *world) {
				w.users = blocker.Users{Block: true, Grace: time.Minute}
				w.restart()
				w.agent.config.Machine = &onLogind{w.machine, &Host{Logind: &login1.Conn{}, Timeout: 100 * time.Millisecond}}
				logind.SetSessions(login1.Session{ID: "1", User: "alice", Class: "user", State: "active"})
				w.steps(Idle, Queued, Holding, Holding)
				if kind, _, dry := logind.Scheduled(); kind != "reboot" || !dry || logind.Wall().Text != "This machine reboots: a new kernel" {
					t.Errorf("people were told of a %q, dry run %t, %+v", kind, dry, logind.Wall())
				}
				w.now = w.now.Add(time.Minute)
				test.prepare(logind)
				w.steps(Draining, Rebooting, Rebooting)
				w.steps(test.want...)
				if test.reason == "" {
					w.phases(slots.Rebooting)
					return
				}
				w.phases()
				w.history(slots.Released, test.reason)
			})
		})
	}
}
