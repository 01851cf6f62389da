package blocker

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/coordd/coordd/locksmith/command"
	"github.com/coordd/coordd/locksmith/fetch"
)

// Which member of the store a machine is, where it is not a name.
const (
	MemberAuto = "auto" // the one whose URLs lead to this machine, if there is one
	MemberNone = "none" // none
)

// MaxTimeout bounds the time of each blocker: who asks them does so every few seconds.
const MaxTimeout = 2 * time.Minute

// Config says what may forbid a reboot.
type Config struct {
	Inhibitors bool       `yaml:"inhibitors"` // logind's locks that block a shutdown
	Users      Users      `yaml:"users"`
	Commands   [][]string `yaml:"commands"` // programs: exit code 0 lets the machine reboot, 1 forbids it; no shell reads them
	Prometheus Prometheus `yaml:"prometheus"`
	Quorum     bool       `yaml:"quorum"` // the store keeps a quorum without this machine

	Timeout time.Duration `yaml:"timeout"` // of each blocker, at most MaxTimeout
}

// Users says what those mean who are logged in.
type Users struct {
	Block   bool          `yaml:"block"`   // they hold up a reboot
	Grace   time.Duration `yaml:"grace"`   // for that long after they were warned; 0: until they have left
	Message string        `yaml:"message"` // what they are told; empty: the reason of the reboot
}

// Prometheus says which alerts forbid a reboot.
type Prometheus struct {
	URL       string `yaml:"url"`        // of the server, with its path prefix if it has one; empty: none is asked
	Ignore    string `yaml:"ignore"`     // regular expression of whole alert names that do not forbid a reboot; empty: none
	Only      string `yaml:"only"`       // likewise of those that alone do; empty: all
	TokenFile string `yaml:"token_file"` // with the bearer token; empty: none
	CAFile    string `yaml:"ca_file"`    // PEM; empty: the system's authorities
}

// Defaults ask logind and the store.
func (c *Config) Defaults() {
	*c = Config{
		Inhibitors: true,
		Users:      Users{Block: true, Grace: 5 * time.Minute},
		Commands:   [][]string{},
		Quorum:     true,
		Timeout:    30 * time.Second,
	}
}

// Validate names all that is wrong with c, or is nil.
func (c *Config) Validate() error {
	errs := []error{command.ValidateAll("blockers.commands", c.Commands), c.Prometheus.validate()}
	if c.Users.Grace < 0 {
		errs = append(errs, fmt.Errorf("blockers.users.grace: %v must not be negative", c.Users.Grace))
	}
	if c.Timeout <= 0 || c.Timeout > MaxTimeout {
		errs = append(errs, fmt.Errorf("blockers.timeout: %v must be above 0s and at most %v", c.Timeout, MaxTimeout))
	}
	return errors.Join(errs...)
}

func (p *Prometheus) validate() error {
	var errs []error
	if p.URL == "" {
		if *p != (Prometheus{}) {
			errs = append(errs, errors.New("blockers.prometheus.url: is empty, but other settings of prometheus are not"))
		}
	} else if _, err := fetch.ParseURL(p.URL); err != nil {
		errs = append(errs, fmt.Errorf("blockers.prometheus.url: %w", err))
	}
	if _, err := whole(p.Ignore); err != nil {
		errs = append(errs, fmt.Errorf("blockers.prometheus.ignore: %w", err))
	}
	if _, err := whole(p.Only); err != nil {
		errs = append(errs, fmt.Errorf("blockers.prometheus.only: %w", err))
	}
	return errors.Join(errs...)
}

// whole compiles an expression that must match all of a name, as those of Prometheus do.
func whole(expression string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expression); err != nil {
		return nil, err // of the expression as it was written
	}
	return regexp.Compile("^(?s:" + expression + ")$")
}
