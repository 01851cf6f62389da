package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/health"
	"github.com/coordd/coordd/locksmith/hooks"
	"github.com/coordd/coordd/locksmith/trigger"
	"github.com/coordd/coordd/locksmith/window"
)

// Config is all that an agent is set to.
type Config struct {
	Store    Store          `yaml:"store"`
	Machine  Machine        `yaml:"machine"`
	Strategy Strategy       `yaml:"strategy"`
	Triggers trigger.Config `yaml:"triggers"`
	Window   window.Config  `yaml:",inline"` // windows, blackouts, expected_duration, jitter
	Blockers blocker.Config `yaml:"blockers"`
	Hooks    hooks.Config   `yaml:"hooks"`
	Reboot   Reboot         `yaml:"reboot"`
	Health   health.Config  `yaml:"health"`
	Metrics  Metrics        `yaml:"metrics"`
	Poll     time.Duration  `yaml:"poll"` // between two looks at the machine; 10ms to 1h
}

// Strategy is what a machine that wants to reboot does.
type Strategy string

const (
	StrategySlot   Strategy = "etcd-lock" // takes a slot of its group first
	StrategyReboot Strategy = "reboot"    // reboots without one: windows, blockers and hooks count all the same
	StrategyOff    Strategy = "off"       // nothing: the agent ends
)

// Reboot says how this machine goes down.
type Reboot struct {
	Method  Method        `yaml:"method"`
	Command []string      `yaml:"command"`  // program and arguments that reboot instead of logind, exit status 0: the machine goes down; empty: logind
	Timeout time.Duration `yaml:"timeout"`  // until the machine must be going down; 1s to 1h
	BackOff time.Duration `yaml:"back_off"` // after a reboot that failed; at most 30 days
	Reason  string        `yaml:"reason"`   // for people, instead of what the triggers say; empty: that
}

// Method is what logind is asked for.
type Method string

const (
	MethodReboot     Method = "reboot"
	MethodSoftReboot Method = "soft-reboot" // of user space alone; systemd 254 or later
)

// Metrics says where the agent shows its metrics.
type Metrics struct {
	Listen string `yaml:"listen"` // host:port for HTTP, as 127.0.0.1:9104; empty: nowhere
}

// Defaults are the settings of an agent that was told nothing.
func (c *Config) Defaults() {
	*c = Config{Strategy: StrategySlot, Poll: 5 * time.Second}
	c.Store.Defaults()
	c.Machine.Defaults()
	c.Triggers.Defaults()
	c.Window.Defaults()
	c.Blockers.Defaults()
	c.Hooks.Defaults()
	c.Reboot.Defaults()
	c.Health.Defaults()
}

// Defaults let logind reboot the machine.
func (r *Reboot) Defaults() {
	*r = Reboot{Method: MethodReboot, Command: []string{}, Timeout: time.Minute, BackOff: 5 * time.Minute}
}

// Validate names all that is wrong with c, or is nil. Each of the joined errors
// begins with the setting.
func (c *Config) Validate() error {
	return errors.Join(
		c.Store.Validate(),
		c.Machine.Validate(),
		c.Strategy.Validate(),
		c.Triggers.Validate(),
		c.Window.Validate(),
		c.Blockers.Validate(),
		c.Hooks.Validate(),
		c.Reboot.Validate(),
		c.Health.Validate(),
		c.Metrics.Validate(),
		between("poll", c.Poll, 10*time.Millisecond, time.Hour),
	)
}

// Validate refuses what is no strategy.
func (s Strategy) Validate() error {
	switch s {
	case StrategySlot, StrategyReboot, StrategyOff:
		return nil
	case "best-effort":
		// It rebooted without a lock whenever the store could not be reached.
		return errors.New("strategy: best-effort is gone: use etcd-lock, or reboot on a machine that needs no slot")
	default:
		return fmt.Errorf("strategy: %q must be etcd-lock, reboot or off", string(s))
	}
}

// Validate names what is wrong with r.
func (r *Reboot) Validate() error {
	var errs []error
	if r.Method != MethodReboot && r.Method != MethodSoftReboot {
		errs = append(errs, fmt.Errorf("reboot.method: %q must be reboot or soft-reboot", string(r.Method)))
	}
	if len(r.Command) > 0 && r.Command[0] == "" {
		errs = append(errs, errors.New("reboot.command[0]: it is empty: name the program"))
	}
	return errors.Join(append(errs,
		between("reboot.timeout", r.Timeout, time.Second, time.Hour),
		between("reboot.back_off", r.BackOff, 0, 30*24*time.Hour),
		text("reboot.reason", r.Reason, 0),
	)...)
}

// Validate names what is wrong with m.
func (m *Metrics) Validate() error {
	if m.Listen == "" {
		return nil
	}
	return hostPort("metrics.listen", m.Listen)
}

func between(setting string, d, least, most time.Duration) error {
	if d < least || d > most {
		return fmt.Errorf("%s: %v must be from %v to %v", setting, d, least, most)
	}
	return nil
}
