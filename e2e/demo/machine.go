package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	machineCount = 6
	downTime     = 2 * time.Second // between the end of a machine and its next boot
)

// machine is a machine as far as its agent can tell: a boot id, a file that wants
// a reboot, and an agent that runs while the machine does.
type machine struct {
	id, dir, agent string
	endpoints      []string
}

// settings leave out what is asked of a real machine and cannot be of this one: it
// has no systemd and nobody is logged in, and it shares its addresses with the store.
const settings = `machine: {store_member: none}
blockers: {inhibitors: false, users: {block: false}}
health: {boot_complete: false, stable_for: 0s}
`

// run boots the machine again and again, until ctx ends.
func (m *machine) run(ctx context.Context) error {
	if err := os.MkdirAll(m.path(), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(m.path("reboot-required"), nil, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(m.path("locksmithd.yaml"), []byte(settings), 0o600); err != nil {
		return err
	}
	for boot := 1; ; boot++ {
		if err := os.WriteFile(m.path("boot-id"), fmt.Appendf(nil, "%s-boot-%d\n", m.id, boot), 0o600); err != nil {
			return err
		}
		agent, err := startProcess(ctx, m.dir, m.id, m.agent,
			"--endpoints="+strings.Join(m.endpoints, ","), "--machine-id="+m.id,
			"--reason=a new kernel", "--boot-id-file="+m.path("boot-id"),
			"--sentinel-file="+m.path("reboot-required"), "--poll=500ms",
			"--reboot-command=true", // the agent ends after it, and the machine counts as down
			"--config="+m.path("locksmithd.yaml"))
		if err != nil {
			return err
		}
		<-agent.ended
		if ctx.Err() != nil {
			return nil
		}
		if agent.err != nil {
			return fmt.Errorf("the agent of %s failed: %w", m.id, agent.err)
		}
		if err := os.Remove(m.path("reboot-required")); err != nil {
			return fmt.Errorf("%s rebooted once more: %w", m.id, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(downTime):
		}
	}
}

func (m *machine) path(elements ...string) string {
	return filepath.Join(append([]string{m.dir, m.id}, elements...)...)
}
