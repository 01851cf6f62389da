package machines

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	lockRestart = "lock-restart@x.service"
	badRelease  = "/var/lib/x-is-bad" // while it is there x does not start

	serviceX = `[Unit]
Description=A little service

[Service]
Type=notify
NotifyAccess=all
ExecStart=/usr/local/bin/x

[Install]
WantedBy=multi-user.target
`
	programX = `#!/bin/sh
if [ -e ` + badRelease + ` ]; then
	echo 'the new release is bad'
	exit 3
fi
systemd-notify --ready
exec sleep infinity
`
	// shortTimeout is less than what restarts wait here.
	shortTimeout = "[Service]\nTimeoutStartSec=3s\n"
)

// restarts is a fleet whose machines have the service x and a restart lock.
type restarts struct {
	*rollout
	ends chan ended
}

// ended is how a systemctl start of a restart lock ended.
type ended struct {
	machine *Machine
	err     error
}

func newRestarts(t *testing.T, size int) *restarts {
	t.Helper()
	return &restarts{newRollout(t, size, 1, func(s *Spec) {
		s.Programs["/usr/bin/locksmithctl"] = program(t, "locksmithctl")
		s.Files["/usr/lib/systemd/system/lock-restart@.service"] = deployed(t, "lock-restart@.service")
		s.Files["/etc/systemd/system/lock-restart@.service.d/container.conf"] = deployed(t, "locksmithd-container.conf")
		s.Files["/etc/systemd/system/lock-restart@.service.d/short.conf"] = shortTimeout
		s.Files["/etc/locksmith/restart.env"] = "LOCKSMITHCTL_STABLE_FOR=1s\n"
		s.Files["/etc/systemd/system/x.service"] = serviceX
		s.Files["/usr/local/bin/x"] = programX
		s.Units = append(s.Units, "x.service")
		s.Vital = append(s.Vital, "x.service")
	}), make(chan ended, size)}
}

// begin starts the restart lock on these machines, all at once; ends tells how that ends.
func (r *restarts) begin(machines ...*Machine) {
	for _, m := range machines {
		ctx := within(r.T, rolloutTime)
		go func() {
			_, err := m.Exec(ctx, "systemctl", "start", lockRestart)
			r.ends <- ended{m, err}
		}()
	}
}

// awaitDone waits until n restarts have gone well.
func (r *restarts) awaitDone(n int) {
	r.Helper()
	for range n {
		if end := <-r.ends; end.err != nil {
			r.Fatal(end.err)
		}
	}
}

// awaitWaiting waits until a machine says that it waits, and for whom and why.
func (r *restarts) awaitWaiting(m *Machine, why string) {
	r.Helper()
	line, err := m.WaitJournal(within(r.T, rolloutTime), lockRestart, "waits: "+why)
	must(r.T, err)
	status, err := m.Exec(within(r.T, rolloutTime), "systemctl", "status", lockRestart)
	if want := fmt.Sprintf("Status: %q", line); !strings.Contains(status, want) {
		r.Errorf("%s waits and has no %s (%v):\n%s", m.Name, want, err, status)
	}
}

// awaitFree waits until nobody has a slot.
func (r *restarts) awaitFree() {
	r.Helper()
	r.awaitHolders("all slots to be free", func(phases map[string]string) bool { return len(phases) == 0 })
}

// show is one property of a unit.
func show(t *testing.T, m *Machine, unit, property string) string {
	t.Helper()
	return execute(t, m, "systemctl", "show", "--value", "--property="+property, unit)
}

// turns is what has happened to x, and how often it was down on each machine.
func (r *restarts) turns() (turns *Turns, times map[string]int) {
	r.Helper()
	turns, times = &Turns{Names: r.names(), Group: "unit-x.service", Changes: r.changes()}, map[string]int{}
	for _, m := range r.Machines() {
		execute(r.T, m, "journalctl", "--sync")
		journal, err := m.Journal(within(r.T, time.Minute), "x.service")
		must(r.T, err)
		out, err := outages(m.Name, journal)
		must(r.T, err)
		turns.Outages = append(turns.Outages, out...)
		times[m.Name] = len(out)
	}
	return turns, times
}

// TestRestartLocks: systemctl start lock-restart@x on three machines at once, a release
// that does not start, and waits that end.
func TestRestartLocks(t *testing.T) {
	r := newRestarts(t, 3)
	r.begin(r.Machines()...)
	r.awaitDone(3)
	r.awaitFree()

	stopped := r.testBadRelease()
	r.testEndsOfWaiting()

	turns, times := r.turns()
	for _, wrong := range turns.Judge() {
		t.Error(wrong)
	}
	for i, m := range r.Machines() {
		if want := []int{2, 2, 3}[i]; times[m.Name] != want {
			t.Errorf("x was down %d times on %s, want %d", times[m.Name], m.Name, want)
		}
	}
	t.Logf("the bad release stopped at %s; outages: %v", stopped.Name, turns.Outages)
}

// testBadRelease: it stops at the first machine, and after the repair all go on.
func (r *restarts) testBadRelease() (stopped *Machine) {
	r.Helper()
	for _, m := range r.Machines() {
		must(r.T, m.WriteFile(badRelease, ""))
	}
	r.begin(r.Machines()...)
	end := <-r.ends
	if stopped = end.machine; end.err == nil {
		r.Fatalf("%s restarted x with a bad release", stopped.Name)
	}
	if _, err := stopped.WaitJournal(within(r.T, rolloutTime), lockRestart, "keeps its slot of unit-x.service"); err != nil {
		r.Error(err)
	}
	if code := show(r.T, stopped, lockRestart, "ExecMainStatus"); code != "1" {
		r.Errorf("the restart that failed ended with %s", code)
	}
	for _, m := range r.Machines() {
		if m != stopped {
			r.awaitWaiting(m, stopped.Name+" holds the slot: restart of x.service: failed; the unit is failed, exit-code, status 3")
			execute(r.T, m, "systemctl", "is-active", "x.service") // the former process serves
		}
	}
	r.awaitHolders("the machine with the failure alone to hold a slot", func(phases map[string]string) bool {
		return len(phases) == 1 && phases[stopped.Name] == "rebooting"
	})
	for _, m := range r.Machines() {
		execute(r.T, m, "rm", badRelease)
	}
	r.begin(stopped)
	r.awaitDone(3)
	r.awaitFree()
	return stopped
}

// testEndsOfWaiting: m1 is stopped while it waits, m2 gives up, and m3 has its turn,
// after more than TimeoutStartSec=, because m2 had waited for longer than that.
func (r *restarts) testEndsOfWaiting() {
	r.Helper()
	m1, m2, m3 := r.Machines()[0], r.Machines()[1], r.Machines()[2]
	must(r.T, m2.WriteFile("/etc/locksmith/restart-x.env", "LOCKSMITHCTL_WAIT=6s\n"))
	r.locksmithctl("-group", "unit-x.service", "lock", "operator")
	const why = "operator holds the slot: taken by "
	r.begin(m1, m3)
	r.awaitWaiting(m1, why)
	r.awaitWaiting(m3, why)

	execute(r.T, m1, "systemctl", "stop", lockRestart)
	if end := <-r.ends; end.machine != m1 || end.err == nil {
		r.Errorf("the first wait to end was that of %s: %v", end.machine.Name, end.err)
	}
	r.begin(m2)
	if end := <-r.ends; end.machine != m2 || end.err == nil {
		r.Errorf("the second wait to end was that of %s: %v", end.machine.Name, end.err)
	}
	result, code := show(r.T, m2, lockRestart, "Result"), show(r.T, m2, lockRestart, "ExecMainStatus")
	if result != "exit-code" || code != "124" {
		r.Errorf("who waits for too long ends with %s, %s; want exit-code, 124", result, code)
	}
	r.awaitHolders("the operator alone to hold a slot", func(phases map[string]string) bool {
		_, ok := phases["operator"]
		return ok && len(phases) == 1
	})
	r.locksmithctl("-group", "unit-x.service", "unlock", "operator")
	r.awaitDone(1)
	r.awaitFree()
}
