package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// newLog writes into the journal where standard error leads there, and to standard error else.
func newLog(stderr io.Writer, format string) (*slog.Logger, error) {
	if isJournal, err := journal.StderrIsJournalStream(); err == nil && isJournal && journal.Enabled() {
		return slog.New(&journalHandler{send: journal.Send}), nil
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(stderr, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(stderr, nil)), nil
	}
	return nil, fmt.Errorf("locksmithd: --log-format: %q must be text or json", format)
}

// journalHandler writes records into systemd's journal: each attribute is a field
// by its name in capitals, as MACHINE, GROUP, STATE, FENCE and WHY, and those that
// belong to the one record stand in the message as well.
type journalHandler struct {
	send  func(message string, p journal.Priority, fields map[string]string) error
	attrs []slog.Attr // of all records
}

// Enabled is true from Info on.
func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// WithAttrs adds fields to all records.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{h.send, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup is not used by the agent: fields of the journal have no groups.
func (h *journalHandler) WithGroup(string) slog.Handler { return h }

// Handle sends one record.
func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	fields := map[string]string{}
	for _, a := range h.attrs {
		fields[fieldName(a.Key)] = a.Value.String()
	}
	r.Attrs(func(a slog.Attr) bool {
		fields[fieldName(a.Key)] = a.Value.String()
		return true
	})
	var message bytes.Buffer
	text := slog.NewTextHandler(&message, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey {
			return slog.Attr{}
		}
		return a
	}})
	if err := text.Handle(ctx, r); err != nil {
		return err
	}
	return h.send(strings.TrimSpace(r.Message+" "+message.String()), priority(r.Level), fields)
}

// fieldName makes a name of the journal's: capitals, digits and underscores, and a capital first.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(key))
	if name == "" || name[0] < 'A' || name[0] > 'Z' || name == "MESSAGE" || name == "PRIORITY" {
		name = "X" + name
	}
	return name
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	}
	return journal.PriInfo
}
