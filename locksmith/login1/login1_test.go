package login1_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coordd/coordd/locksmith/bus"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/login1/login1test"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var aWhileAgo = time.Date(2026, 3, 1, 4, 5, 6, 7000, time.UTC)

func TestInhibitors(t *testing.T) {
	l := login1test.Start(t)
	held := []login1.Inhibitor{
		{What: "sleep:shutdown", Who: "apt", Why: "an upgrade", Mode: "block", UID: 0, PID: 412},
		{What: "shutdown", Who: "a desktop", Why: "unsaved work", Mode: "block-weak", UID: 1000, PID: 500},
		{What: "shutdown", Who: "unattended-upgrades", Why: "", Mode: "delay", UID: 0, PID: 7},
		{What: "idle:sleep", Who: "a film", Why: "it runs", Mode: "block", UID: 1000, PID: 8},
		{What: "shutdowns", Who: "no word of ours", Mode: "block"},
	}
	var c login1.Conn
	if got, err := c.Inhibitors(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("none: %v, %v", got, err)
	}
	l.SetInhibitors(held...)
	got, err := c.Inhibitors(t.Context())
	if err != nil || !slices.Equal(got, held) {
		t.Errorf("%+v, %v", got, err)
	}
	var blocking []string
	for _, i := range got {
		if i.BlocksShutdown() {
			blocking = append(blocking, i.Who)
		}
	}
	if want := []string{"apt", "a desktop"}; !slices.Equal(blocking, want) {
		t.Errorf("%q block, want %q", blocking, want)
	}
}

func TestSessions(t *testing.T) {
	l := login1test.Start(t)
	sessions := []login1.Session{
		{ID: "2", UID: 1000, User: "anna", TTY: "tty1", Class: "user", State: "active", Since: aWhileAgo},
		{ID: "3", UID: 0, User: "root", Remote: true, RemoteHost: "10.0.0.7", Class: "user-early", State: "online", Since: aWhileAgo, Idle: true, IdleSince: aWhileAgo.Add(time.Hour)},
		{ID: "4", UID: 1000, User: "anna", Class: "user", State: "closing", Since: aWhileAgo},
		{ID: "c1", UID: 108, User: "gdm", Class: "greeter", State: "active", Since: aWhileAgo},
		{ID: "5", UID: 1001, User: "ben", Class: "manager", State: "active", Since: aWhileAgo},
		{ID: "6", UID: 33, User: "cron", Class: "background", State: "active", Since: aWhileAgo},
	}
	l.SetSessions(sessions...)
	var c login1.Conn
	got, err := c.Sessions(t.Context())
	if err != nil || !slices.EqualFunc(got, sessions, sameSession) {
		t.Fatalf("%+v, %v", got, err)
	}
	var people []string
	for _, s := range got {
		if s.IsUser() {
			people = append(people, s.ID)
		}
	}
	if want := []string{"2", "3"}; !slices.Equal(people, want) {
		t.Errorf("%q are people's, want %q", people, want)
	}
	l.EndSession(1)
	if got, err := c.Sessions(t.Context()); err != nil || len(got) != len(sessions)-1 || got[1].ID != "4" {
		t.Errorf("one has ended: %+v, %v", got, err)
	}
}

func sameSession(a, b login1.Session) bool {
	sameTimes := a.Since.Equal(b.Since) && a.IdleSince.Equal(b.IdleSince)
	a.Since, a.IdleSince, b.Since, b.IdleSince = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return sameTimes && a == b
}

// TestQuestionsFail: each question says what was asked, and carries the words and the name of logind's answer.
func TestQuestionsFail(t *testing.T) {
	l := login1test.Start(t)
	var c login1.Conn
	const denied = "org.freedesktop.DBus.Error.AccessDenied"
	for method, ask := range map[string]func(context.Context) error{
		"ListInhibitors":   func(ctx context.Context) error { _, err := c.Inhibitors(ctx); return err },
		"ListSessions":     func(ctx context.Context) error { _, err := c.Sessions(ctx); return err },
		"CanReboot":        c.CanReboot,
		"SetWallMessage":   func(ctx context.Context) error { return c.SetWallMessage(ctx, "soon", true) },
		"ScheduleShutdown": func(ctx context.Context) error { return c.Warn(ctx, "soon", aWhileAgo) },
		"CancelScheduledShutdown": func(ctx context.Context) error {
			l.Schedule("reboot", aWhileAgo)
			return c.Unwarn(ctx, aWhileAgo)
		},
		"Get PreparingForShutdown": func(ctx context.Context) error { _, err := c.IsShuttingDown(ctx); return err },
		"Get ScheduledShutdown":    func(ctx context.Context) error { return c.Warn(ctx, "soon", aWhileAgo) },
	} {
		t.Run(method, func(t *testing.T) {
			l.Refuse(method, denied, "not for you")
			err := ask(t.Context())
			if !bus.IsRefused(err, denied) || !strings.HasPrefix(err.Error(), "login1: ") || !strings.Contains(err.Error(), "not for you ("+denied+")") {
				t.Errorf("%v", err)
			}
			l.Refuse(method, "", "")
			if err := ask(t.Context()); err != nil {
				t.Errorf("not refused any more: %v", err)
			}
		})
	}
}

func TestCanReboot(t *testing.T) {
	l := login1test.Start(t)
	var c login1.Conn
	for answer, want := range map[string]string{
		"yes": "", "no": "polkit", "challenge": "polkit", "na": "cannot be rebooted", "inhibited": "inhibited", "": "may not",
	} {
		l.SetCanReboot(answer)
		if err := c.CanReboot(t.Context()); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

func TestWarn(t *testing.T) {
	l := login1test.Start(t)
	var c login1.Conn
	at := aWhileAgo.Add(500 * time.Nanosecond) // logind counts in µs
	for _, why := range []string{"a new kernel", "a newer kernel"} {
		if err := c.Warn(t.Context(), why, at); err != nil {
			t.Fatal(err)
		}
		if l.Wall() != (login1test.Wall{Text: why, Enabled: true}) {
			t.Errorf("%+v", l.Wall())
		}
		if kind, when, dry := l.Scheduled(); kind != "reboot" || !when.Equal(aWhileAgo) || !dry {
			t.Errorf("scheduled: %s, %v, dry %t; logind is to warn, not to reboot", kind, when, dry)
		}
	}
	if err := c.Unwarn(t.Context(), at); err != nil {
		t.Error(err)
	}
	if kind, _, _ := l.Scheduled(); kind != "" {
		t.Errorf("a %s is still scheduled", kind)
	}
	if kind, when, err := c.Scheduled(t.Context()); kind != "" || !when.IsZero() || err != nil {
		t.Errorf("scheduled: %q, %v, %v", kind, when, err)
	}
	if err := c.Unwarn(t.Context(), at); err != nil {
		t.Errorf("without a warning: %v", err)
	}
}

// TestScheduledAfterACancelledReboot: what logind of systemd 252 leaves behind is no scheduled shutdown.
func TestScheduledAfterACancelledReboot(t *testing.T) {
	l := login1test.Start(t)
	l.Schedule("reboot", time.Unix(0, 0))
	var c login1.Conn
	if kind, at, err := c.Scheduled(t.Context()); kind != "" || !at.IsZero() || err != nil {
		t.Errorf("%q, %v, %v", kind, at, err)
	}
	if err := c.Warn(t.Context(), "a new kernel", aWhileAgo); err != nil {
		t.Error(err)
	}
}

// TestLeavesTheShutdownsOfOthers: an operator's shutdown is neither replaced nor cancelled.
func TestLeavesTheShutdownsOfOthers(t *testing.T) {
	l := login1test.Start(t)
	var c login1.Conn
	for _, kind := range []string{"poweroff", "reboot"} {
		l.Schedule(kind, aWhileAgo)
		if err := c.Warn(t.Context(), "a new kernel", aWhileAgo.Add(time.Hour)); !errors.Is(err, login1.ErrScheduled) || !strings.HasSuffix(err.Error(), kind+" at 2026-03-01 04:05:06Z") {
			t.Errorf("warn: %v", err)
		}
		if err := c.Unwarn(t.Context(), aWhileAgo.Add(time.Hour)); err != nil {
			t.Errorf("unwarn: %v", err)
		}
		if got, at, err := c.Scheduled(t.Context()); err != nil || got != kind || !at.Equal(aWhileAgo) {
			t.Errorf("%s, %v, %v", got, at, err)
		}
		if l.Wall() != (login1test.Wall{}) {
			t.Errorf("%+v", l.Wall())
		}
	}
}

// TestBusIsRestarted: the same Conn goes on with the new bus.
func TestBusIsRestarted(t *testing.T) {
	l := login1test.Start(t)
	var c login1.Conn
	if err := c.CanReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Bus.Stop()
	if err := c.CanReboot(t.Context()); err == nil {
		t.Error("there is no bus, and logind answers")
	}
	l.Bus.Start()
	if err := c.CanReboot(t.Context()); !bus.IsRefused(err, bus.NoService, bus.NoOwner) {
		t.Errorf("there is no logind: %v", err)
	}
	l.Run()
	if err := c.CanReboot(t.Context()); err != nil {
		t.Error(err)
	}
}
