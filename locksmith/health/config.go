package health

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coordd/coordd/locksmith/command"
	"github.com/coordd/coordd/locksmith/fetch"
)

// MaxTimeout bounds the time of each check: who asks them does so every few seconds.
const MaxTimeout = 2 * time.Minute

// Config says what must pass after a reboot, and for how long.
type Config struct {
	// BootComplete asks for boot-complete.target or, where no unit of the machine wants that target, for the default
	// target: all of it has been started.
	BootComplete bool `yaml:"boot_complete"`
	// SystemRunning asks for a system that is "running": nothing is being started any more and no unit has failed.
	SystemRunning bool        `yaml:"system_running"`
	Units         []string    `yaml:"units"` // full names of units that must be active
	HTTP          []HTTPCheck `yaml:"http"`
	TCP           []string    `yaml:"tcp"`  // host:port that must accept connections
	Exec          [][]string  `yaml:"exec"` // programs that must exit with 0; no shell reads them

	Timeout   time.Duration `yaml:"timeout"`    // of each check, at most MaxTimeout
	StableFor time.Duration `yaml:"stable_for"` // how long all must have passed without a break
	Deadline  time.Duration `yaml:"deadline"`   // after the boot, by when the last such time must have begun; 0: none
}

// HTTPCheck asks for one document.
type HTTPCheck struct {
	URL      string `yaml:"url"`
	Status   int    `yaml:"status"`   // that must be answered; 0: any from 200 to 299. A redirection is not followed
	Contains string `yaml:"contains"` // what must stand in the body, which must then be of 1 MiB at most
	CAFile   string `yaml:"ca_file"`  // PEM; empty: the system's authorities
}

// Defaults ask for a complete boot that stays one for ten seconds.
func (c *Config) Defaults() {
	*c = Config{
		BootComplete: true,
		Units:        []string{}, HTTP: []HTTPCheck{}, TCP: []string{}, Exec: [][]string{},
		Timeout: 10 * time.Second, StableFor: 10 * time.Second, Deadline: 15 * time.Minute,
	}
}

// Validate names all that is wrong with c, or is nil.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(setting, format string, args ...any) {
		errs = append(errs, fmt.Errorf("health."+setting+": "+format, args...))
	}
	for i, unit := range c.Units {
		if !validUnit(unit) {
			wrong(fmt.Sprintf("units[%d]", i), "%q is no full name of a unit, as nginx.service", unit)
		}
	}
	for i := range c.HTTP {
		h := &c.HTTP[i]
		if _, err := fetch.ParseURL(h.URL); err != nil {
			wrong(fmt.Sprintf("http[%d].url", i), "%w", err)
		}
		if h.Status != 0 && (h.Status < 200 || h.Status > 599) {
			wrong(fmt.Sprintf("http[%d].status", i), "%d must be from 200 to 599", h.Status)
		}
	}
	for i, address := range c.TCP {
		if err := validateAddress(address); err != nil {
			wrong(fmt.Sprintf("tcp[%d]", i), "%w", err)
		}
	}
	errs = append(errs, command.ValidateAll("health.exec", c.Exec))
	if c.Timeout <= 0 || c.Timeout > MaxTimeout {
		wrong("timeout", "%v must be above 0s and at most %v", c.Timeout, MaxTimeout)
	}
	if c.StableFor < 0 {
		wrong("stable_for", "%v must not be negative", c.StableFor)
	}
	if c.Deadline < 0 {
		wrong("deadline", "%v must not be negative", c.Deadline)
	}
	return errors.Join(errs...)
}

// validUnit tells the full name of a unit from a word without its type, of which
// the service manager would know nothing.
func validUnit(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	kinds := []string{"service", "socket", "target", "mount", "automount", "swap", "path", "timer", "device", "scope", "slice"}
	return dot > 0 && len(name) < 256 && slices.Contains(kinds, name[dot+1:]) && !strings.ContainsFunc(name, func(r rune) bool {
		return !strings.ContainsRune(`:-_.\@`, r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

func validateAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf("%q is not host:port", address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q has no port from 1 to 65535", address)
	}
	return nil
}
