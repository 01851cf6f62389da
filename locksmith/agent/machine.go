package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// Machine is what an agent needs from the machine it runs on.
type Machine interface {
	// BootID names the present boot: it differs after every boot.
	BootID() (string, error)
	// Wanted reports whether a reboot is wanted now.
	Wanted() (bool, error)
	// Reboot asks for the reboot. nil means that the machine goes down.
	Reboot(ctx context.Context) error
}

// Host is a real machine: a sentinel file wants the reboot, a command does it.
type Host struct {
	BootIDFile    string   // its content, without white space around it, is the boot id
	SentinelFile  string   // a reboot is wanted while it exists; it must not survive the reboot
	RebootCommand []string // program and arguments; its exit status is the answer
}

// BootID reads the boot id. An empty file is an error: it would make every boot alike.
func (h *Host) BootID() (string, error) {
	b, err := os.ReadFile(h.BootIDFile)
	if err != nil {
		return "", fmt.Errorf("agent: read boot id: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if id == "" {
		return "", fmt.Errorf("agent: read boot id: %s is empty", h.BootIDFile)
	}
	return id, nil
}

// Wanted looks for the sentinel file.
func (h *Host) Wanted() (bool, error) {
	_, err := os.Stat(h.SentinelFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("agent: look for the sentinel file: %w", err)
	}
	return true, nil
}

// maxCommandOutput bounds how much of the reboot command's words an error quotes.
const maxCommandOutput = 300

// Reboot runs the command and reads its exit status.
func (h *Host) Reboot(ctx context.Context) error {
	if len(h.RebootCommand) == 0 {
		return errors.New("agent: the reboot command is empty")
	}
	out, err := exec.CommandContext(ctx, h.RebootCommand[0], h.RebootCommand[1:]...).CombinedOutput()
	if err == nil {
		return nil
	}
	said := string(bytes.TrimSpace(out[:min(len(out), maxCommandOutput)]))
	if said == "" {
		return fmt.Errorf("agent: run %s: %w", h.RebootCommand[0], err)
	}
	return fmt.Errorf("agent: run %s: %w: %q", h.RebootCommand[0], err, said)
}
