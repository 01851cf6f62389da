package hooks

import (
	"fmt"
	"time"

	"github.com/coordd/coordd/locksmith/command"
)

// Config says what to run. Each program is an argument vector: no shell reads it.
type Config struct {
	Before  [][]string    `yaml:"before"`  // in order, with the slot held and before the machine goes
	After   [][]string    `yaml:"after"`   // in order, when the machine stays up or is back and healthy
	Timeout time.Duration `yaml:"timeout"` // of each program
}

// Defaults sets what is not set.
func (c *Config) Defaults() {
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Minute
	}
}

// Validate says which setting is wrong, or nil.
func (c *Config) Validate() error {
	if c.Timeout <= 0 {
		return fmt.Errorf("hooks.timeout: %v must be above 0", c.Timeout)
	}
	for name, programs := range map[string][][]string{"before": c.Before, "after": c.After} {
		for i, argv := range programs {
			if err := command.Validate(argv); err != nil {
				return fmt.Errorf("hooks.%s[%d]: %w", name, i, err)
			}
		}
	}
	return nil
}
