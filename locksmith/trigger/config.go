package trigger

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/coordd/coordd/locksmith/command"
)

// DefaultSentinelFile is what Debian's and Ubuntu's packages make when a reboot is required.
const DefaultSentinelFile = "/run/reboot-required"

// Config says what may want a reboot. Any one of several that are set is enough.
type Config struct {
	// SentinelFile wants a reboot while it exists. It must not survive the reboot. "" is none.
	SentinelFile string `yaml:"sentinel_file"`
	// SentinelCommand, a program and its arguments, wants a reboot when it exits with 0, and none with 1.
	SentinelCommand []string `yaml:"sentinel_command"`
	// Needrestart asks needrestart(1) whether a newer kernel is installed than runs.
	Needrestart bool `yaml:"needrestart"`
	// UpdateEngine listens to update_engine of Flatcar on D-Bus, and to locksmithctl send-need-reboot.
	UpdateEngine bool `yaml:"update_engine"`
}

// Defaults sets the sentinel file of a Config in which nothing is set.
func (c *Config) Defaults() {
	if c.SentinelFile == "" && len(c.SentinelCommand) == 0 && !c.Needrestart && !c.UpdateEngine {
		c.SentinelFile = DefaultSentinelFile
	}
}

// Validate names the first setting that is wrong.
func (c *Config) Validate() error {
	switch {
	case c.SentinelFile == "" && len(c.SentinelCommand) == 0 && !c.Needrestart && !c.UpdateEngine:
		return errors.New("triggers: none is set: nothing can want a reboot")
	case c.SentinelFile != "" && !filepath.IsAbs(c.SentinelFile), strings.ContainsRune(c.SentinelFile, 0):
		return fmt.Errorf("triggers.sentinel_file: %q is no absolute path", c.SentinelFile)
	}
	if len(c.SentinelCommand) > 0 {
		if err := command.Validate(c.SentinelCommand); err != nil {
			return fmt.Errorf("triggers.sentinel_command: %w", err)
		}
	}
	return nil
}
