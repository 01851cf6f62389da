package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coordd/coordd/locksmith/slots"
)

// Machine says which machine this is and where it stands in the fleet.
type Machine struct {
	ID          string `yaml:"id"`           // unique in the group; empty: the content of IDFile
	IDFile      string `yaml:"id_file"`      // absolute
	BootIDFile  string `yaml:"boot_id_file"` // absolute; its content differs after every boot
	Hostname    string `yaml:"hostname"`     // for people; empty: the machine's own
	Zone        string `yaml:"zone"`         // failure domain; empty: none
	Group       string `yaml:"group"`        // machines that share slots
	Stage       int    `yaml:"stage"`        // 0 to slots.MaxStage: a stage begins when those below it are through
	Priority    int    `yaml:"priority"`     // 0 to slots.MaxPriority: within its stage the highest goes first
	StoreMember string `yaml:"store_member"` // auto, none, or the name of the store's member that runs here
}

// Defaults are a machine that systemd has given an id.
func (m *Machine) Defaults() {
	*m = Machine{
		IDFile: "/etc/machine-id", BootIDFile: "/proc/sys/kernel/random/boot_id",
		Group: slots.DefaultGroup, StoreMember: "auto",
	}
}

// Validate names what is wrong with m.
func (m *Machine) Validate() error {
	var errs []error
	if m.Stage < 0 || m.Stage > slots.MaxStage {
		errs = append(errs, fmt.Errorf("machine.stage: %d must be from 0 to %d", m.Stage, slots.MaxStage))
	}
	if m.Priority < 0 || m.Priority > slots.MaxPriority {
		errs = append(errs, fmt.Errorf("machine.priority: %d must be from 0 to %d", m.Priority, slots.MaxPriority))
	}
	if m.ID == "" {
		errs = append(errs, absolute("machine.id_file", m.IDFile))
	}
	return errors.Join(append(errs,
		text("machine.id", m.ID, 0),
		absolute("machine.boot_id_file", m.BootIDFile),
		text("machine.hostname", m.Hostname, 0),
		text("machine.zone", m.Zone, 0),
		text("machine.group", m.Group, 1),
		text("machine.store_member", m.StoreMember, 1),
	)...)
}

// maxTextBytes bounds names; it is that of the slots.
const maxTextBytes = 256

// ReadID is the machine's id: the setting, or what the file holds.
func (m *Machine) ReadID() (string, error) {
	if m.ID != "" {
		return m.ID, nil
	}
	b, err := readBounded(m.IDFile, maxTextBytes+1)
	if err != nil {
		return "", fmt.Errorf("config: read this machine's id: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if id == "uninitialized" {
		return "", fmt.Errorf("config: read this machine's id: %s says that it has none yet", m.IDFile) // man machine-id
	}
	if err := text(m.IDFile, id, 1); err != nil {
		return "", fmt.Errorf("config: read this machine's id: %w", err)
	}
	return id, nil
}

// ReadHostname is the name for people: the setting, or the machine's own.
func (m *Machine) ReadHostname() (string, error) {
	if m.Hostname != "" {
		return m.Hostname, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("config: read this machine's name: %w", err)
	}
	return name, nil
}

// text refuses what could not be a name in the store or a line for people.
func text(setting, value string, least int) error {
	switch {
	case len(value) < least:
		return fmt.Errorf("%s: it is empty", setting)
	case len(value) > maxTextBytes:
		return fmt.Errorf("%s: %d bytes are too many, %d are allowed", setting, len(value), maxTextBytes)
	case !utf8.ValidString(value):
		return fmt.Errorf("%s: %q is not UTF-8", setting, value)
	case strings.ContainsFunc(value, unicode.IsControl):
		return fmt.Errorf("%s: %q has control characters", setting, value)
	}
	return nil
}

// absolute refuses paths that depend on where the agent was started. Empty is one.
func absolute(setting, path string) error {
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "\x00") {
		return fmt.Errorf("%s: %q must be an absolute path", setting, path)
	}
	return nil
}
