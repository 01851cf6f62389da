package main

import (
	"io"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/coordd/coordd/locksmith/slots"
)

func TestJournalFields(t *testing.T) {
	var message string
	var priority journal.Priority
	var fields map[string]string
	log := slog.New(&journalHandler{send: func(m string, p journal.Priority, f map[string]string) error {
		message, priority, fields = m, p, f
		return nil
	}}).With("machine", "m1", "group", "web")
	log.Warn("failed", "state", "failed", "fence", 42, "why", "nginx is down", "_odd key", 1, "message", "other")
	if want := `failed state=failed fence=42 why="nginx is down" "_odd key"=1 message=other`; message != want {
		t.Errorf("%q, want %q", message, want)
	}
	want := map[string]string{"MACHINE": "m1", "GROUP": "web", "STATE": "failed", "FENCE": "42", "WHY": "nginx is down", "X_ODD_KEY": "1", "XMESSAGE": "other"}
	if !maps.Equal(fields, want) || priority != journal.PriWarning {
		t.Errorf("%v with priority %d, want %v", fields, priority, want)
	}
	for level, want := range map[slog.Level]journal.Priority{slog.LevelError: journal.PriErr, slog.LevelInfo: journal.PriInfo} {
		if log.Log(t.Context(), level, ""); priority != want {
			t.Errorf("%s has priority %d, want %d", level, priority, want)
		}
	}
	if log.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("debugging is on")
	}
}

func TestLogFormat(t *testing.T) {
	if _, err := newLog(io.Discard, "xml"); err == nil || !strings.Contains(err.Error(), "--log-format") {
		t.Errorf("%v, want the flag's name", err)
	}
}

// TestSupervisor: an agent that has not kept its promise hangs.
func TestSupervisor(t *testing.T) {
	s := &supervisor{}
	s.tell(slots.Status{State: "idle"}, time.Hour)
	if status, err := s.alive(time.Now()); err != nil || status.State != "idle" {
		t.Errorf("%+v, %v", status, err)
	}
	if _, err := s.alive(time.Now().Add(2 * time.Hour)); err == nil || !strings.Contains(err.Error(), "hangs") {
		t.Errorf("%v, want that it hangs", err)
	}
	status := slots.Status{State: "closed", Wanted: "a kernel", Blocked: []string{"the window is closed", "two\nlines"}, Opens: time.Date(2026, 1, 2, 3, 0, 0, 0, time.Local)}
	want := "closed; wanted: a kernel; the window is closed; two lines; opens " + status.Opens.Format(time.RFC3339)
	if got := describe(status); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	status.Blocked = []string{"held: \x1b[2J\xff" + strings.Repeat("ü", 1<<20)} // what another machine has written into the store
	if got := describe(status); len(got) > maxLine || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
		t.Errorf("%d bytes: %.100q", len(got), got)
	}
}
