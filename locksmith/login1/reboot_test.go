package login1_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/bus"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/login1/login1test"
)

const (
	shortly = 50 * time.Millisecond // for what is not to come
	long    = time.Minute           // for what is
)

func TestReboot(t *testing.T) {
	l := login1test.Start(t)
	var c login1.Conn
	if err := c.Reboot(t.Context(), shortly); err != nil {
		t.Fatal(err)
	}
	// Block inhibitors hold root back, and nobody is asked for a password.
	if got := l.Reboots(); !slices.Equal(got, []uint64{1}) {
		t.Errorf("flags %v", got)
	}
	if down, err := c.IsShuttingDown(t.Context()); err != nil || !down {
		t.Errorf("shutting down: %t, %v", down, err)
	}
}

func TestRebootOfAnOldLogind(t *testing.T) {
	l := login1test.Start(t)
	l.Refuse("RebootWithFlags", bus.UnknownMethod, "Unknown method 'RebootWithFlags'")
	var c login1.Conn
	if err := c.Reboot(t.Context(), shortly); err != nil || !slices.Equal(l.Reboots(), []uint64{0}) {
		t.Errorf("%v, %v", l.Reboots(), err)
	}
}

func TestSoftReboot(t *testing.T) {
	l := login1test.Start(t)
	var c login1.Conn
	err := c.SoftReboot(t.Context(), shortly)
	if !errors.Is(err, login1.ErrNotSupported) || errors.Is(err, login1.ErrUncertain) || len(l.Reboots()) != 0 {
		t.Errorf("systemd 252: %v", err)
	}
	l.Refuse("RebootWithFlags", bus.UnknownMethod, "")
	if err := c.SoftReboot(t.Context(), shortly); !errors.Is(err, login1.ErrNotSupported) || len(l.Reboots()) != 0 {
		t.Errorf("a logind without flags: %v", err)
	}
	l.Refuse("RebootWithFlags", "", "")
	l.KnowSoftReboot()
	if err := c.SoftReboot(t.Context(), shortly); err != nil || !slices.Equal(l.Reboots(), []uint64{1 | 4}) {
		t.Errorf("systemd 254: %v, %v", l.Reboots(), err)
	}
}

// TestRebootFails: what of it says that the machine stays up, and what leaves it open.
func TestRebootFails(t *testing.T) {
	for name, c := range map[string]struct {
		script    func(*login1test.Logind)
		timeout   time.Duration
		want      error  // among the errors
		text      string // in it
		uncertain bool
	}{
		"logind refuses": {
			script: func(l *login1test.Logind) {
				l.Refuse("RebootWithFlags", "org.freedesktop.DBus.Error.AccessDenied", "Permission denied")
			},
			timeout: long, text: "Permission denied (org.freedesktop.DBus.Error.AccessDenied)",
		},
		"an inhibitor that was not there before": {
			script: func(l *login1test.Logind) {
				l.SetInhibitors(login1.Inhibitor{What: "shutdown", Who: "a desktop", Mode: "block", UID: 1000})
			},
			timeout: long, text: "block inhibitor",
		},
		"logind does not prepare": {
			script:  func(l *login1test.Logind) { l.OnReboot(func() {}) },
			timeout: shortly, want: login1.ErrNotAnnounced,
		},
		"cancelled after it was announced": {
			script:  func(l *login1test.Logind) { l.OnReboot(func() { l.Prepare(true); l.Prepare(false) }) },
			timeout: long, want: login1.ErrCancelled,
		},
		"cancelled after the answer": {
			script: func(l *login1test.Logind) {
				l.OnReboot(func() { l.Prepare(true); go l.Prepare(false) })
			},
			timeout: long, want: login1.ErrCancelled,
		},
		"a shutdown is under way": {
			script:  func(l *login1test.Logind) { l.SetPreparing(true) },
			timeout: long, text: "OperationInProgress", uncertain: true,
		},
		"the bus ends instead of an answer": {
			script:  func(l *login1test.Logind) { l.OnReboot(l.Bus.Stop) },
			timeout: long, want: bus.ErrEnded, uncertain: true,
		},
		"the bus ends after the answer": {
			script:  func(l *login1test.Logind) { l.OnReboot(func() { time.AfterFunc(shortly, l.Bus.Stop) }) },
			timeout: long, want: bus.ErrEnded, uncertain: true,
		},
		"logind ends instead of an answer": {
			script:  func(l *login1test.Logind) { l.OnReboot(l.End) },
			timeout: long, text: bus.NoReply, uncertain: true,
		},
		"no answer": {
			script:  func(l *login1test.Logind) { l.OnReboot(func() { <-t.Context().Done() }) },
			timeout: shortly, want: context.DeadlineExceeded, uncertain: true,
		},
		"not announced, and no answer why": {
			script: func(l *login1test.Logind) {
				l.OnReboot(func() { l.Refuse("Get PreparingForShutdown", "com.example.No", "") })
			},
			timeout: shortly, text: "com.example.No", uncertain: true,
		},
		"there is no logind": {
			script:  func(l *login1test.Logind) { l.End() },
			timeout: long, text: bus.NoService,
		},
		"there is no bus": {
			script:  func(l *login1test.Logind) { l.Bus.Stop() },
			timeout: long, text: "bus: connect",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := login1test.Start(t)
			c.script(l)
			err := new(login1.Conn).Reboot(t.Context(), c.timeout)
			if err == nil || !errors.Is(err, c.want) && c.want != nil || !strings.Contains(err.Error(), c.text) || !strings.HasPrefix(err.Error(), "login1: reboot: ") {
				t.Errorf("%v", err)
			}
			if errors.Is(err, login1.ErrUncertain) != c.uncertain {
				t.Errorf("uncertain is to be %t: %v", c.uncertain, err)
			}
		})
	}
}

// TestGoesDown: what a shutdown looks like once it was announced.
func TestGoesDown(t *testing.T) {
	for name, script := range map[string]func(l *login1test.Logind, stop context.CancelFunc){
		"the bus ends":             func(l *login1test.Logind, _ context.CancelFunc) { l.Prepare(true); time.AfterFunc(shortly, l.Bus.Stop) },
		"announced, and no answer": func(l *login1test.Logind, _ context.CancelFunc) { l.Prepare(true); <-t.Context().Done() },
		"the agent is ended":       func(l *login1test.Logind, stop context.CancelFunc) { l.Prepare(true); time.AfterFunc(shortly, stop) },
		"announced unheard":        func(l *login1test.Logind, _ context.CancelFunc) { l.SetPreparing(true) },
		"announced repeatedly":     func(l *login1test.Logind, _ context.CancelFunc) { l.Prepare(true); l.Prepare(true) },
	} {
		t.Run(name, func(t *testing.T) {
			l := login1test.Start(t)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			l.OnReboot(func() { script(l, stop) })
			timeout := 4 * shortly
			if err := new(login1.Conn).Reboot(ctx, timeout); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAgentEndsBeforeTheAnnouncement: nobody knows.
func TestAgentEndsBeforeTheAnnouncement(t *testing.T) {
	l := login1test.Start(t)
	ctx, stop := context.WithCancel(t.Context())
	l.OnReboot(stop)
	if err := new(login1.Conn).Reboot(ctx, long); !errors.Is(err, login1.ErrUncertain) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestForgedAnnouncements: anybody may send a signal; logind's alone is believed.
func TestForgedAnnouncements(t *testing.T) {
	l := login1test.Start(t)
	stranger := l.Bus.Connect()
	forge := func(start bool) {
		if err := stranger.Emit("/org/freedesktop/login1", "org.freedesktop.login1.Manager.PrepareForShutdown", start); err != nil {
			t.Error(err)
		}
		// One that is sent to the agent alone passes every match rule.
		for _, name := range l.Clients() {
			err := stranger.Send(&dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldDestination: dbus.MakeVariant(name), dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/login1")),
				dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.login1.Manager"), dbus.FieldMember: dbus.MakeVariant("PrepareForShutdown"),
				dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(start)),
			}, Body: []any{start}}, nil).Err
			if err != nil {
				t.Error(err)
			}
		}
		if err := stranger.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
			t.Error(err) // the bus has passed them on
		}
	}
	var c login1.Conn
	l.OnReboot(func() { forge(true) })
	if err := c.Reboot(t.Context(), shortly); !errors.Is(err, login1.ErrNotAnnounced) {
		t.Errorf("announced by a stranger: %v", err)
	}
	l.OnReboot(func() { l.Prepare(true); forge(false) })
	if err := c.Reboot(t.Context(), shortly); err != nil {
		t.Errorf("cancelled by a stranger: %v", err)
	}
}
