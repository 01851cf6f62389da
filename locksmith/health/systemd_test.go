package health

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/coordd/coordd/locksmith/bus/bustest"
)

// fakeSystemd answers as the service manager of a machine does, as a test has set it.
type fakeSystemd struct {
	conn   *dbus.Conn
	mu     sync.Mutex                // held to answer, and to set what follows
	units  map[string]map[string]any // properties by the unit's name
	state  any
	booted uint64
	failed []listed
}

func (f *fakeSystemd) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func startSystemd(t *testing.T) *fakeSystemd {
	t.Helper()
	f := &fakeSystemd{units: map[string]map[string]any{}, state: "running"}
	f.conn = bustest.Start(t).Serve(systemdName, systemdPath, systemdManager, f)
	if err := f.conn.Export(fakeProperties{f}, systemdPath, "org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	return f
}

// LoadUnit answers a path for every name, as systemd does.
func (f *fakeSystemd) LoadUnit(name string) (dbus.ObjectPath, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	properties, ok := f.units[name]
	if !ok {
		properties = map[string]any{"LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead"}
	}
	path := dbus.ObjectPath(systemdPath + "/unit/" + fmt.Sprintf("%x", name))
	if err := f.conn.Export(fakeUnit(properties), path, "org.freedesktop.DBus.Properties"); err != nil {
		return "", dbus.MakeFailedError(err)
	}
	return path, nil
}

func (f *fakeSystemd) ListUnitsFiltered(states []string) ([]listed, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(states) != 1 || states[0] != "failed" {
		return nil, dbus.MakeFailedError(fmt.Errorf("states %q", states))
	}
	return f.failed, nil
}

type fakeProperties struct{ f *fakeSystemd }

func (p fakeProperties) Get(iface, name string) (dbus.Variant, *dbus.Error) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	switch name {
	case "SystemState":
		return dbus.MakeVariant(p.f.state), nil
	case "UserspaceTimestampMonotonic":
		return dbus.MakeVariant(p.f.booted), nil
	}
	return dbus.Variant{}, dbus.MakeFailedError(fmt.Errorf("no property %s.%s", iface, name))
}

type fakeUnit map[string]any

func (u fakeUnit) GetAll(string) (map[string]dbus.Variant, *dbus.Error) {
	all := map[string]dbus.Variant{}
	for name, value := range u {
		all[name] = dbus.MakeVariant(value)
	}
	return all, nil
}

func inState(active, sub string, more ...any) map[string]any {
	u := map[string]any{"LoadState": "loaded", "ActiveState": active, "SubState": sub, "InvocationID": []byte{0xab, 1}}
	for i := 0; i < len(more); i += 2 {
		u[more[i].(string)] = more[i+1]
	}
	return u
}

// only makes a configuration whose checks are those that set names.
func only(set func(*Config)) Config {
	c := Config{Timeout: 10 * time.Second}
	set(&c)
	return c
}

func run(t *testing.T, c Config) Report {
	t.Helper()
	checks, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return checks.Run(t.Context())
}

func TestSystemd(t *testing.T) {
	f := startSystemd(t)
	boot := only(func(c *Config) { c.BootComplete = true })
	system := only(func(c *Config) { c.SystemRunning = true })
	nginx := only(func(c *Config) { c.Units = []string{"nginx.service"} })
	wanted := []any{"WantedBy", []string{"systemd-bless-boot.service"}}
	for name, c := range map[string]struct {
		config Config
		units  map[string]map[string]any
		state  any
		failed []listed
		why    string
	}{
		"boot complete": {config: boot, units: map[string]map[string]any{"boot-complete.target": inState("active", "active", wanted...)}},
		"boot not complete though the default target is reached": {
			config: boot,
			units: map[string]map[string]any{
				"boot-complete.target": inState("inactive", "dead", wanted...),
				"default.target":       inState("active", "active"),
			},
			why: "boot: boot-complete.target is inactive (dead)",
		},
		"a need is a wish": {
			config: boot,
			units: map[string]map[string]any{
				"boot-complete.target": inState("inactive", "dead", "RequiredBy", []string{"mine.service"}),
				"default.target":       inState("active", "active"),
			},
			why: "boot: boot-complete.target is inactive (dead)",
		},
		"nobody wants boot-complete.target": {
			config: boot,
			units: map[string]map[string]any{
				"boot-complete.target": inState("inactive", "dead", "WantedBy", []string{}, "RequiredBy", []string{}),
				"default.target":       inState("active", "active"),
			},
		},
		"no boot-complete.target, still starting": {
			config: boot,
			units:  map[string]map[string]any{"default.target": inState("inactive", "dead")},
			why:    "boot: default.target is inactive (dead)",
		},
		"system running":      {config: system},
		"system starting":     {config: system, state: "starting", why: "system: is starting"},
		"system degraded":     {config: system, state: "degraded", failed: []listed{{Name: "a.service"}, {Name: "b.mount"}}, why: "system: is degraded: failed are a.service, b.mount"},
		"much of it":          {config: system, state: "degraded", failed: make([]listed, 7), why: "system: is degraded: failed are , , , , , 2 more"},
		"garbage":             {config: system, state: []string{"running"}, why: "system: bus: org.freedesktop.DBus.Properties.Get: read the answer: dbus.Store: type mismatch: slice: cannot store a value of []string into string"},
		"unit active":         {config: nginx, units: map[string]map[string]any{"nginx.service": inState("active", "running")}},
		"unit reloading":      {config: nginx, units: map[string]map[string]any{"nginx.service": inState("reloading", "reload")}},
		"unit failed":         {config: nginx, units: map[string]map[string]any{"nginx.service": inState("failed", "failed")}, why: "unit nginx.service: is failed (failed)"},
		"unit restarting":     {config: nginx, units: map[string]map[string]any{"nginx.service": inState("activating", "auto-restart")}, why: "unit nginx.service: is activating (auto-restart)"},
		"unit missing":        {config: nginx, why: "unit nginx.service: is not-found"},
		"unit masked":         {config: nginx, units: map[string]map[string]any{"nginx.service": {"LoadState": "masked", "ActiveState": "inactive"}}, why: "unit nginx.service: is masked"},
		"unit of another age": {config: nginx, units: map[string]map[string]any{"nginx.service": {"ActiveState": 7}}, why: "unit nginx.service: is in no known state"},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range c.failed {
				c.failed[i].Path, c.failed[i].JobPath = "/", "/"
			}
			f.set(func() {
				f.units, f.failed, f.state = c.units, c.failed, "running"
				if c.state != nil {
					f.state = c.state
				}
			})
			r := run(t, c.config)
			if why := r.Why(); why != c.why || r.Passed != (c.why == "") || len(r.Results) != 1 {
				t.Errorf("%+v: %q, want %q", r, why, c.why)
			}
			if strings.HasPrefix(name, "unit active") && r.Results[0].Instance != "ab01" {
				t.Errorf("instance %q", r.Results[0].Instance)
			}
		})
	}
}

// TestSystemdIsSilent: a service manager that hangs costs the time of a check.
func TestSystemdIsSilent(t *testing.T) {
	f := startSystemd(t)
	f.mu.Lock()
	defer f.mu.Unlock()
	r := run(t, Config{BootComplete: true, SystemRunning: true, Timeout: 50 * time.Millisecond})
	if r.Passed || strings.Count(r.Why(), "context deadline exceeded after 50ms") != 2 {
		t.Errorf("%s", r.Why())
	}
}

func TestNoBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/none")
	r := run(t, only(func(c *Config) { c.BootComplete = true }))
	if r.Passed || !strings.Contains(r.Why(), "boot: bus: connect: ") {
		t.Errorf("%s", r.Why())
	}
	if since, err := SinceBoot(t.Context()); err == nil {
		t.Errorf("booted %v ago", since)
	}
}

func TestSinceBoot(t *testing.T) {
	f := startSystemd(t)
	if since, err := SinceBoot(t.Context()); err == nil {
		t.Errorf("booted at no time: %v ago", since)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	f.set(func() { f.booted = 1 })
	if since, err := SinceBoot(t.Context()); err != nil || since < time.Duration(now.Nano())-time.Second {
		t.Errorf("booted %v ago, %v", since, err)
	}
}
