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
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/coordd/coordd/locksmith/slots"
)

const machineIDFile = "/etc/machine-id"

// session is what the global flags say.
type session struct {
	client slots.ClientConfig
	group  string
	output string // text or json
	dryRun bool
	debug  bool
	euid   func() int // effective user id of this process
}

// groupName is the group that the flags name.
func (s *session) groupName() string { return cmp.Or(s.group, slots.DefaultGroup) }

// json says that output is for programs.
func (s *session) json() bool { return s.output == "json" }

// withGroup runs f on the group that the flags name, within the time they say.
// What fails is reported as "Error <doing>: …".
func (s *session) withGroup(cmd *cobra.Command, doing string, f func(context.Context, *slots.Group) error) error {
	return s.withFleet(cmd, doing, func(ctx context.Context, fleet *slots.Fleet) error {
		g, err := fleet.Group(s.groupName())
		if err != nil {
			return err
		}
		return f(ctx, g)
	})
}

// withFleet is withGroup for all groups.
func (s *session) withFleet(cmd *cobra.Command, doing string, f func(context.Context, *slots.Fleet) error) error {
	return s.connected(cmd, doing, func(fleet *slots.Fleet) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), s.client.Timeout)
		defer cancel()
		return f(ctx, fleet)
	})
}

// connected runs f, which may take as long as it likes, with a client of the store.
func (s *session) connected(cmd *cobra.Command, doing string, f func(*slots.Fleet) error) error {
	out := io.Discard
	if s.debug {
		out = cmd.ErrOrStderr()
	}
	log := slog.New(slog.NewTextHandler(out, nil))
	err := func() error {
		client, err := slots.NewClient(s.client)
		if err != nil {
			return err
		}
		defer client.Close()
		log.Info(doing, "endpoints", s.client.Endpoints, "group", s.groupName(), "prefix", slots.DefaultPrefix)
		return f(slots.NewFleet(client, slots.DefaultPrefix))
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
	if failed, ok := errors.AsType[*failure](err); ok {
		return failed
	}
	text, hint := err.Error(), ""
	full, isFull := errors.AsType[*slots.FullError](err)
	refused, isRefused := errors.AsType[*slots.RefusedError](err)
	damaged, isDamaged := errors.AsType[*slots.DamagedError](err)
	switch {
	case isFull:
		text = "semaphore is at 0"
		if full.Held > full.Max {
			hint = fmt.Sprintf("The limit is %d and %d machines hold a slot.", full.Max, full.Held)
		}
	case isRefused:
		text = refused.Why
		if refused.Kind == slots.RefusedPaused {
			hint = "'locksmithctl resume' ends the pause."
		}
	case errors.Is(err, slots.ErrNotHeld):
		text = "holder does not exist"
	case isDamaged:
		hint = s.remedy(damaged)
	case errors.Is(err, rpctypes.ErrPermissionDenied), errors.Is(err, rpctypes.ErrUserEmpty):
		hint = "The user of -etcd-username needs to read and write keys that begin with " + slots.DefaultPrefix + "/."
	case errors.Is(err, context.DeadlineExceeded):
		text = fmt.Sprintf("no answer from %s within %v: %v", strings.Join(s.client.Endpoints, ", "), s.client.Timeout, err)
		hint = "Check -endpoint, the TLS flags, and that a majority of the store's members runs."
	}
	return &failure{text: "Error " + doing + ": " + text, hint: hint}
}

// remedy says what to do about something that cannot be read.
func (s *session) remedy(d *slots.DamagedError) string {
	if d.ID != "" {
		return fmt.Sprintf("No slot is granted beside it. Look at the machine first; then\n  locksmithctl -group '%s' unlock --force --reason WHY '%s'", d.Group, d.ID)
	}
	return fmt.Sprintf("If no newer version needs it, remove it and set anew what it said:\n  coordctl del '%s'", d.Key)
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
