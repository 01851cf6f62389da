package hooks

import (
	"errors"
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

// Defaults run nothing.
func (c *Config) Defaults() {
	*c = Config{Before: [][]string{}, After: [][]string{}, Timeout: 5 * time.Minute}
}

// Validate names all that is wrong with c, or is nil.
func (c *Config) Validate() error {
	var errs []error
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("hooks.timeout: %v must be above 0", c.Timeout))
	}
	errs = append(errs, command.ValidateAll("hooks.before", c.Before), command.ValidateAll("hooks.after", c.After))
	return errors.Join(errs...)
}
