package machines

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Machine is one machine, on or off.
type Machine struct {
	Name string // host name
	IP   string // address on the bridge
	ID   string // machine id

	fleet *Fleet
	spec  Spec
	dir   string // of its files

	mu   sync.Mutex
	stay bool  // off after the next end; guarded by mu
	last *boot // nil before the first; guarded by mu
}

// path is where something of the machine is on the host, while /run in it is its own.
func (m *Machine) path(elements ...string) string {
	return filepath.Join(append([]string{m.dir, "root"}, elements...)...)
}

func (m *Machine) group() string { return filepath.Join(groupRoot, m.Name) }

func (m *Machine) cable() string { return "vb-" + m.Name }

// WriteFile writes a file of the machine, whether it is on or off; what it writes to
// /run of one that is on is gone after its reboot.
func (m *Machine) WriteFile(path, content string) error {
	file := m.path(path)
	if strings.HasPrefix(path, "/run/") {
		leader, err := m.leader()
		if err != nil {
			return err
		}
		file = filepath.Join("/proc", strconv.Itoa(leader), "root", path)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	mode := os.FileMode(0o644)
	if strings.HasPrefix(content, "#!") {
		mode = 0o755
	}
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	return nil
}

// Part takes the machine off the bridge; it runs on and hears nobody. A reboot joins
// it again.
func (m *Machine) Part() error {
	m.fleet.record(m.Name, Parted, "", "")
	return ip("link set " + m.cable() + " down")
}

// Join ends what Part began.
func (m *Machine) Join() error {
	m.fleet.record(m.Name, Joined, "", "")
	return ip("link set " + m.cable() + " up")
}

// Boots are the boot ids under which the machine was up, in order.
func (m *Machine) Boots() []string { return boots(m.fleet.Events(), m.Name) }

func boots(events []Event, machine string) (ids []string) {
	for _, e := range events {
		if e.Machine == machine && e.What == Up {
			ids = append(ids, e.Boot)
		}
	}
	return ids
}

// WaitBoots waits until the machine has come up for the n-th time. One that has ended
// otherwise than by a reboot does not come.
func (m *Machine) WaitBoots(ctx context.Context, n int) error {
	end := ""
	err := m.fleet.Await(ctx, fmt.Sprintf("boot %d of %s", n, m.Name), func(events []Event) bool {
		for _, e := range events {
			switch {
			case e.Machine != m.Name:
			case e.What == Ended && e.Detail != byReboot:
				end = e.Detail
			case e.What == Booting:
				end = ""
			}
		}
		return end != "" || len(boots(events, m.Name)) >= n
	})
	if err == nil && len(m.Boots()) < n {
		return fmt.Errorf("machines: %s has ended: %s", m.Name, end)
	}
	return err
}

// WaitFor waits for the first event of a kind after the first n events of the fleet.
func (m *Machine) WaitFor(ctx context.Context, what What, n int) error {
	return m.fleet.Await(ctx, fmt.Sprintf("%s to be %s", m.Name, what), func(events []Event) bool {
		for _, e := range events[n:] {
			if e.Machine == m.Name && e.What == what {
				return true
			}
		}
		return false
	})
}
