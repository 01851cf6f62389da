package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/locksmith/slots"
)

const machineIDFile = "/etc/machine-id"

// session is what the global flags say.
type session struct {
	client slots.ClientConfig
	group  string
	debug  bool
}

// withGroup runs f on the group that the flags name. What fails is reported as
// "Error <doing>: …".
func (s *session) withGroup(cmd *cobra.Command, doing string, f func(context.Context, *slots.Group) error) error {
	out := io.Discard
	if s.debug {
		out = cmd.ErrOrStderr()
	}
	log := slog.New(slog.NewTextHandler(out, nil))
	ctx, cancel := context.WithTimeout(cmd.Context(), s.client.Timeout)
	defer cancel()
	err := func() error {
		client, err := slots.NewClient(s.client)
		if err != nil {
			return err
		}
		defer client.Close()
		g, err := slots.NewGroup(client, slots.DefaultPrefix, cmp.Or(s.group, slots.DefaultGroup))
		if err != nil {
			return err
		}
		log.Info(doing, "endpoints", s.client.Endpoints, "group", g.Name(), "keys", g.HoldersPrefix())
		return f(ctx, g)
	}()
	if err == nil {
		log.Info("done")
		return nil
	}
	log.Info("failed", "error", err)
	return s.explain(doing, err)
}

// explain gives the errors that people meet the words they know, and a hint.
func (s *session) explain(doing string, err error) error {
	text, hint := err.Error(), ""
	full, isFull := errors.AsType[*slots.FullError](err)
	switch {
	case isFull:
		text = "semaphore is at 0"
		if full.Held > full.Max {
			hint = fmt.Sprintf("The limit is %d and %d machines hold a slot.", full.Max, full.Held)
		}
	case errors.Is(err, slots.ErrNotHeld):
		text = "holder does not exist"
	case errors.Is(err, context.DeadlineExceeded):
		text = fmt.Sprintf("no answer from %s within %v: %v", strings.Join(s.client.Endpoints, ", "), s.client.Timeout, err)
		hint = "Check -endpoint, the TLS flags, and that a majority of the store's members runs."
	}
	return &failure{text: "Error " + doing + ": " + text, hint: hint}
}

// machineID is the first argument, or else the id of the machine this runs on.
func machineID(args []string) (id string, own bool, err error) {
	if len(args) > 0 {
		return args[0], false, nil
	}
	b, err := os.ReadFile(machineIDFile)
	if err != nil {
		return "", true, fmt.Errorf("read this machine's id: %w", err)
	}
	if id = strings.TrimSpace(string(b)); id == "" {
		return "", true, fmt.Errorf("read this machine's id: %s is empty", machineIDFile)
	}
	return id, true, nil
}
