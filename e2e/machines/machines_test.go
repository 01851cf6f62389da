package machines

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var lacking = Lacking()

func TestMain(m *testing.M) {
	if lacking != nil {
		os.Exit(m.Run()) // each test says that it cannot run
	}
	os.Exit(Isolated(m.Run))
}

// requires skips the test if something is lacking. In CI nothing may be.
func requires(t *testing.T, lacking error) {
	t.Helper()
	switch {
	case lacking == nil:
	case os.Getenv("CI") != "":
		t.Fatal(lacking)
	default:
		t.Skip(lacking)
	}
}

// newFleet is a fleet that goes with the test.
func newFleet(t *testing.T) *Fleet {
	t.Helper()
	requires(t, lacking)
	f, err := NewFleet(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			tell(t, f)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// tell shows what a fleet went through.
func tell(t *testing.T, f *Fleet) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, e := range f.Events() {
		t.Log(e)
	}
	for _, m := range f.Machines() {
		journal, err := m.Journal(ctx, "")
		if err != nil {
			t.Log(err)
		}
		if console, err := os.ReadFile(filepath.Join(f.logs, m.Name+".console")); err == nil {
			t.Logf("console of %s ends with\n%s", m.Name, console[max(0, len(console)-1000):])
		}
		t.Logf("journal of %s ends with\n%s", m.Name, journal[max(0, len(journal)-4000):])
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func execute(t *testing.T, m *Machine, argv ...string) string {
	t.Helper()
	out, err := m.Exec(within(t, 30*time.Second), argv...)
	must(t, err)
	return strings.TrimSpace(out)
}

// bootMachines adds n machines and waits until all are up.
func bootMachines(t *testing.T, f *Fleet, n int) []*Machine {
	t.Helper()
	for i := range n {
		_, err := f.Add(Spec{Name: fmt.Sprintf("m%d", i+1)})
		must(t, err)
	}
	start := time.Now()
	must(t, f.Start())
	for _, m := range f.Machines() {
		must(t, m.WaitBoots(within(t, time.Minute), 1))
	}
	took := time.Since(start)
	var memory int
	for _, m := range f.Machines() {
		memory += proportionalKiB(m)
	}
	t.Logf("%d machines up in %v; the processes of each have %d KiB", n, took.Round(10*time.Millisecond), memory/n)
	return f.Machines()
}

// proportionalKiB is the memory of all processes of a machine, shared pages by their
// share; without those that end while it looks.
func proportionalKiB(m *Machine) (sum int) {
	for _, pid := range processes(m.group()) {
		rollup, _ := os.ReadFile("/proc/" + pid + "/smaps_rollup")
		for line := range strings.Lines(string(rollup)) {
			var kib int
			if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
				sum += kib
			}
		}
	}
	return sum
}

const bootIDFile = "/proc/sys/kernel/random/boot_id"

func TestRebootThroughLogind(t *testing.T) {
	machines := bootMachines(t, newFleet(t), 3)
	m := machines[0]
	if state := execute(t, m, "systemctl", "is-system-running", "--wait"); state != "running" {
		t.Errorf("the system is %s: %s", state, execute(t, m, "systemctl", "--failed"))
	}
	can := execute(t, m, "busctl", "call", logind, "/org/freedesktop/login1", logind+".Manager", "CanReboot")
	if can != `s "yes"` {
		t.Errorf("logind on whether it can reboot: %s", can)
	}
	first := execute(t, m, "cat", bootIDFile)
	if boots := m.Boots(); len(boots) != 1 || boots[0] != first {
		t.Errorf("boots %v, the machine says %s", boots, first)
	}
	must(t, m.WriteFile("/var/lib/stays", "disk"))
	must(t, m.WriteFile("/run/goes", "memory"))
	execute(t, m, "systemd-cat", "--identifier=test", "echo", "before the reboot")

	execute(t, m, "systemctl", "reboot")
	must(t, m.WaitBoots(within(t, time.Minute), 2))
	second := execute(t, m, "cat", bootIDFile)
	if second == first || m.Boots()[1] != second {
		t.Errorf("boots %v, the machine says %s", m.Boots(), second)
	}
	if got := execute(t, m, "ls", "/var/lib/stays"); got != "/var/lib/stays" {
		t.Errorf("%q", got)
	}
	if out, err := m.Exec(t.Context(), "ls", "/run/goes"); err == nil {
		t.Errorf("%s is there after the reboot", out)
	}
	if list := execute(t, m, "journalctl", "--list-boots", "--quiet"); strings.Count(list, "\n") != 1 {
		t.Errorf("boots of the journal: %s", list)
	}
	journal, err := m.Journal(t.Context(), "")
	must(t, err)
	if !strings.Contains(journal, "before the reboot") || !strings.Contains(journal, "System is rebooting") {
		t.Errorf("the journal says nothing of the reboot: %s", journal)
	}
	for _, other := range machines[1:] {
		if got := other.Boots(); len(got) != 1 || got[0] == first || got[0] == second {
			t.Errorf("boots of %s: %v", other.Name, got)
		}
	}
	var story []What
	for _, e := range m.fleet.Events() {
		if e.Machine == m.Name {
			story = append(story, e.What)
		}
	}
	if want := []What{Booting, Up, Stopping, Ended, Booting, Up}; !slices.Equal(story, want) {
		t.Errorf("events %v, want %v", story, want)
	}
}

// answers tells whether a machine is on the bridge: it refuses a port where nobody listens.
func answers(m *Machine) error {
	conn, err := net.DialTimeout("tcp", m.IP+":9", 2*time.Second)
	if err == nil {
		conn.Close()
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return fmt.Errorf("%s does not refuse port 9: %v", m.Name, err)
}

func TestWaysToGo(t *testing.T) {
	f := newFleet(t)
	machines := bootMachines(t, f, 3)
	a, b, c := machines[0], machines[1], machines[2]

	execute(t, a, "systemctl", "poweroff")
	must(t, a.WaitFor(within(t, time.Minute), Ended, 0))

	must(t, b.PowerCut())
	b.StayOff()
	for _, m := range []*Machine{a, b} {
		if out, err := m.Exec(t.Context(), "true"); err == nil {
			t.Errorf("%s is off and runs a command: %s", m.Name, out)
		}
	}
	for _, e := range f.Events() {
		if e.Machine == b.Name && e.What == Stopping {
			t.Error("a power cut was announced")
		}
	}
	must(t, b.Start())
	must(t, b.WaitBoots(within(t, time.Minute), 2))

	if got := execute(t, c, "getent", "hosts", b.Name); !strings.HasPrefix(got, b.IP) {
		t.Errorf("%s is %q, want %s", b.Name, got, b.IP)
	}
	if err := answers(b); err != nil {
		t.Error(err)
	}
	must(t, b.Part())
	if err := answers(b); err == nil {
		t.Errorf("%s answers without a link", b.Name)
	}
	must(t, b.Join())
	if err := answers(b); err != nil {
		t.Error(err)
	}

	c.StayOff()
	execute(t, c, "systemctl", "reboot")
	must(t, c.WaitFor(within(t, time.Minute), Ended, 0))
	execute(t, b, "true")
	if got := c.Boots(); len(got) != 1 {
		t.Errorf("boots %v of a machine that does not come back", got)
	}
}

func TestEightAtOnce(t *testing.T) {
	machines := bootMachines(t, newFleet(t), 8)
	seen := map[string]bool{}
	for _, m := range machines {
		seen[m.Boots()[0]] = true
	}
	if len(seen) != 8 {
		t.Errorf("%d boot ids of 8 machines", len(seen))
	}
}

const logind = "org.freedesktop.login1"

// logindRefuses is a D-Bus policy under which a call of logind's Reboot is an error.
const logindRefuses = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <policy context="mandatory">
    <deny send_destination="org.freedesktop.login1" send_interface="org.freedesktop.login1.Manager" send_member="Reboot"/>
    <deny send_destination="org.freedesktop.login1" send_interface="org.freedesktop.login1.Manager" send_member="RebootWithFlags"/>
  </policy>
</busconfig>
`

// policyFile is where a machine's bus finds it when it starts.
const policyFile = "/etc/dbus-1/system.d/harness.conf"

// inhibit takes an inhibitor of shutdowns and returns when logind lists it.
func inhibit(t *testing.T, m *Machine, mode string) {
	t.Helper()
	execute(t, m, "systemd-run", "--unit=inhibitor", "--service-type=notify", "--property=NotifyAccess=all",
		"systemd-inhibit", "--what=shutdown", "--who=backup", "--why=a backup runs", "--mode="+mode,
		"sh", "-c", "systemd-notify --ready; exec sleep infinity")
}

// TestLogindSaysNo shows what scenarios use in which the reboot must not happen.
func TestLogindSaysNo(t *testing.T) {
	f := newFleet(t)
	m, err := f.Add(Spec{Name: "m1", Files: map[string]string{policyFile: logindRefuses}})
	must(t, err)
	must(t, m.Start())
	must(t, m.WaitBoots(within(t, time.Minute), 1))
	out, err := m.Exec(t.Context(), "busctl", "call", logind, "/org/freedesktop/login1", logind+".Manager", "Reboot", "b", "false")
	if err == nil || !strings.Contains(out, "Access denied") {
		t.Errorf("logind's answer: %v, %s", err, out)
	}
	inhibit(t, m, "block")
	if list := execute(t, m, "systemd-inhibit", "--list", "--no-legend"); !strings.Contains(list, "a backup runs") {
		t.Errorf("inhibitors: %q", list)
	}
	execute(t, m, "systemctl", "stop", "inhibitor.service")
	if list := execute(t, m, "systemd-inhibit", "--list", "--no-legend"); strings.Contains(list, "a backup runs") {
		t.Errorf("inhibitors: %q", list)
	}
}

// TestExecKeepsOffTheClock: the kernel's clock is the host's as well.
func TestExecKeepsOffTheClock(t *testing.T) {
	m := bootMachines(t, newFleet(t), 1)[0]
	out := execute(t, m, "grep", "CapBnd", "/proc/self/status")
	var rights uint64
	if _, err := fmt.Sscanf(out, "CapBnd: %x", &rights); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	const sysTime = 25 // CAP_SYS_TIME in linux/capability.h
	if rights&(1<<sysTime) != 0 {
		t.Errorf("a command may set the clock: %s", out)
	}
}

const hangVariable = "COORDD_MACHINES_HANG"

// TestKilledProgramLeavesNothing runs this program in namespaces once more and kills it
// while a machine is up.
func TestKilledProgramLeavesNothing(t *testing.T) {
	if os.Getenv(hangVariable) != "" {
		bootMachines(t, newFleet(t), 1)
		fmt.Println(hangVariable)
		select {}
	}
	newFleet(t) // or it says why there can be none
	cmd := exec.CommandContext(within(t, time.Minute), os.Args[0], "-test.run=^TestKilledProgramLeavesNothing$")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, insideVariable) }), hangVariable+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewReader(out)
	for line := ""; !strings.Contains(line, hangVariable); {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("the program ended before its machine was up: %v", err)
		}
	}
	group := filepath.Join(groupRoot, groupPrefix+strconv.Itoa(cmd.Process.Pid))
	if procs := processes(group); len(procs) < 5 {
		t.Errorf("the program and its machine are the processes %v", procs)
	}
	must(t, cmd.Process.Kill())
	io.Copy(io.Discard, lines) // ends with the last process that could write
	cmd.Wait()
	sweep(groupRoot)
	if _, err := os.Stat(group); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", group, err)
	}
}

// processes are the ids of all that run in a control group and below; those that come
// and go while it looks may be missing.
func processes(group string) (pids []string) {
	filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "cgroup.procs" {
			here, _ := os.ReadFile(path)
			pids = append(pids, strings.Fields(string(here))...)
		}
		return nil
	})
	return pids
}
