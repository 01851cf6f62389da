package machines

import (
	"fmt"
	"testing"
	"time"
)

// settings gives one machine's agent a configuration file.
func settings(machine, yaml string) func(*Spec) {
	return func(s *Spec) {
		if s.Name == machine {
			s.Files["/etc/locksmith/locksmithd.yaml"] = yaml
		}
	}
}

// stayed demands that a machine has not rebooted.
func stayed(t *testing.T, m *Machine) {
	t.Helper()
	if boots := m.Boots(); len(boots) != 1 {
		t.Errorf("boots of %s, which must stay up: %v", m.Name, boots)
	}
}

// TestInhibitor: a machine that is inhibited holds no slot, so the next one goes.
func TestInhibitor(t *testing.T) {
	r := newRollout(t, 3, 1)
	w := r.startWriter()
	inhibited, free := r.Machines()[1], r.Machines()[2]
	inhibit(t, inhibited, "block")
	r.wantReboots(inhibited)
	r.awaitAgent(inhibited, "blocked", "backup")
	r.wantReboots(free)
	r.awaitReboots(free)
	stayed(t, inhibited)
	execute(t, inhibited, "systemctl", "stop", "inhibitor.service")
	r.awaitReboots(inhibited)
	r.conclude(w, Rules{MaxDown: 1})
}

// TestLogindRefuses: the answer is read, the slot given back, and the next one goes.
func TestLogindRefuses(t *testing.T) {
	r := newRollout(t, 3, 1,
		settings("m2", "reboot: {back_off: 2s}\n"),
		func(s *Spec) {
			if s.Name == "m2" {
				s.Files[policyFile] = logindRefuses
			}
		})
	w := r.startWriter()
	refused, free := r.Machines()[1], r.Machines()[2]
	r.wantReboots(refused)
	r.awaitAgent(refused, "backing off", "")
	r.wantReboots(free)
	r.awaitReboots(free)
	stayed(t, refused)
	must(t, refused.WriteFile(policyFile, "<busconfig/>"))
	execute(t, refused, "busctl", "call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "ReloadConfig")
	r.awaitReboots(refused)
	r.conclude(w, Rules{MaxDown: 1})
}

// TestUnhealthyMachine: it keeps its slot, and the rollout stops with it until it is well.
func TestUnhealthyMachine(t *testing.T) {
	const well = "/var/lib/well"
	r := newRollout(t, 3, 1, settings("m2", "health: {exec: [[test, -e, "+well+"]], deadline: 2s}\n"))
	w := r.startWriter()
	ill, next := r.Machines()[1], r.Machines()[2]
	r.wantReboots(ill)
	must(t, ill.WaitBoots(within(t, rolloutTime), 2))
	r.wantReboots(next)
	r.awaitAgent(ill, "failed", "test")
	r.awaitAgent(next, "queued", "")
	r.awaitHolders("the ill machine alone to hold a slot", func(phases map[string]string) bool {
		return len(phases) == 1 && phases[ill.Name] == "verifying"
	})
	stayed(t, next)
	must(t, ill.WriteFile(well, ""))
	r.awaitReboots(ill, next)
	r.conclude(w, Rules{MaxDown: 1})
}

// TestWindowCloses while a machine waits for its turn: when that comes, it stays.
func TestWindowCloses(t *testing.T) {
	const open = 10 * time.Second // long enough for its agent to start and to queue
	r := newRollout(t, 3, 1)
	w := r.startWriter()
	late, free := r.Machines()[1], r.Machines()[2]
	now := time.Now().UTC()
	start := now.Truncate(time.Minute)
	must(t, late.WriteFile("/etc/locksmith/locksmithd.yaml", fmt.Sprintf(
		"windows: [{start: %q, length: %v, zone: UTC}]\nexpected_duration: 1s\n", start.Format("15:04"), now.Add(open).Sub(start).Round(time.Second))))
	execute(t, late, "systemctl", "restart", "locksmithd.service")
	r.locksmithctl("lock", "operator")
	r.wantReboots(late)
	r.awaitAgent(late, "queued", "")
	r.awaitAgent(late, "closed", "")
	r.wantReboots(free)
	r.awaitAgent(free, "queued", "")
	r.locksmithctl("unlock", "operator")
	r.awaitReboots(free)
	stayed(t, late)
	r.conclude(w, Rules{MaxDown: 1})
}
