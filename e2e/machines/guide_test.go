package machines

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const (
	guideFile    = "../../docs/REBOOTS.md"
	guideHeading = "## Five minutes on three machines\n"
)

// guide is what its reader writes and runs.
type guide struct {
	store    string   // settings of the member a
	agent    string   // settings of all agents
	enable   []string // commands of the third step
	commands []string // of the fourth
}

// readGuide takes the indented blocks out of the guide, each without what is said beside it.
func readGuide(t *testing.T) guide {
	t.Helper()
	text, err := os.ReadFile(guideFile)
	must(t, err)
	_, section, found := strings.Cut(string(text), guideHeading)
	section, _, more := strings.Cut(section, "\n## ")
	if !found || !more {
		t.Fatalf("%s has no %q", guideFile, guideHeading)
	}
	const indent = "       "
	var blocks []string
	inside := false
	for line := range strings.Lines(section) {
		content, indented := strings.CutPrefix(line, indent)
		if indented && !inside {
			blocks = append(blocks, "")
		}
		if inside = indented; indented {
			content, _, _ = strings.Cut(content, "  #")
			blocks[len(blocks)-1] += strings.TrimRight(content, " \n") + "\n"
		}
	}
	if len(blocks) != 4 {
		t.Fatalf("the guide has %d blocks, not the store's settings, the agent's, and two of commands: %q", len(blocks), blocks)
	}
	lines := func(block string) []string { return strings.Split(strings.TrimSpace(block), "\n") }
	return guide{blocks[0], blocks[1], lines(blocks[2]), lines(blocks[3])}
}

// address is the harness's for one of the guide's.
func address(text string) string {
	for i := range 3 {
		text = strings.ReplaceAll(text, guideIP(i), fmt.Sprintf(ipFormat, firstIP+i))
	}
	return text
}

func guideIP(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }

// storeOf is the settings of the i-th machine's member.
func (g guide) storeOf(i int, name string) string {
	var own strings.Builder
	for line := range strings.Lines(g.store) {
		switch {
		case line == "COORDD_NAME=a\n":
			line = "COORDD_NAME=" + name + "\n"
		case !strings.HasPrefix(line, "COORDD_INITIAL_CLUSTER="):
			line = strings.ReplaceAll(line, guideIP(0), guideIP(i))
		}
		own.WriteString(line)
	}
	return address(own.String())
}

// withoutWindows is the agent's settings without the line that the guide says to leave out.
func (g guide) withoutWindows(t *testing.T) string {
	t.Helper()
	var rest strings.Builder
	for line := range strings.Lines(g.agent) {
		if !strings.HasPrefix(line, "windows:") {
			rest.WriteString(line)
		}
	}
	if rest.Len() == len(g.agent) {
		t.Error("the guide's settings of the agent have no windows")
	}
	return address(rest.String())
}

const (
	agentSettings = "/etc/locksmith/locksmithd.yaml.d/50-own.yaml"
	// trySettings make the test short, and run programs in the agent's sandbox.
	trySettings = `poll: 500ms
hooks: {before: [[/usr/local/bin/hook]], after: [[/usr/local/bin/hook]]}
health: {exec: [[/usr/local/bin/selftest]], stable_for: 1s}
`
	hookLog     = "/var/lib/locksmith/hooks"
	hookProgram = `#!/bin/sh
echo "$LOCKSMITH_HOOK $LOCKSMITH_HOSTNAME $LOCKSMITH_REBOOTED" >> ` + hookLog + `
`
	// selftest asks the service manager, over the bus, and the member.
	selftest = `#!/bin/sh
systemctl is-active coordd && coordctl endpoint health
`
)

// debian is what dpkg knows of the packages that ours depend on.
func debian(t *testing.T) string {
	t.Helper()
	known, err := exec.CommandContext(within(t, rolloutTime), "dpkg-query", "--status", "systemd", "dbus").Output()
	if err == nil {
		_, err = exec.LookPath("dpkg-deb")
	}
	if err != nil {
		requires(t, fmt.Errorf("dpkg does not know of systemd and dbus: %w", err))
	}
	return string(known)
}

// newGuideFleet boots the guide's machines, in which dpkg has this status.
func newGuideFleet(t *testing.T, status string, packages map[string]string) *rollout {
	t.Helper()
	r := &rollout{T: t, Fleet: newFleet(t)}
	for i, name := range []string{"a", "b", "c"} {
		m, err := r.Add(Spec{
			Name: name, Programs: packages,
			Files: map[string]string{
				"/var/lib/dpkg/status": status, "/var/lib/dpkg/available": "", "/var/lib/dpkg/info/format": "1\n",
				"/usr/local/bin/hook": hookProgram, "/usr/local/bin/selftest": selftest,
				"/etc/systemd/system/locksmithd.service.d/50-container.conf": deployed(t, "locksmithd-container.conf"),
			},
		})
		must(t, err)
		r.members = append(r.members, m)
		r.endpoints = append(r.endpoints, fmt.Sprintf("http://%s:2379", fmt.Sprintf(ipFormat, firstIP+i)))
	}
	r.boot()
	return r
}

// buildPackages makes the two Debian packages: where they are in a machine, and here.
func buildPackages(t *testing.T) map[string]string {
	t.Helper()
	program(t, "coordd")
	dir := t.TempDir()
	cmd := exec.CommandContext(within(t, rolloutTime), "deploy/debian/build.sh", dir)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v: %s", err, out)
	}
	packages := map[string]string{}
	for _, name := range []string{"coordd", "locksmith"} {
		found, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("packages of %s: %q, %v", name, found, err)
		}
		packages["/opt/"+name+".deb"] = found[0]
	}
	return packages
}

// everywhere runs f for all machines at the same time.
func (r *rollout) everywhere(f func(i int, m *Machine) error) {
	r.Helper()
	var all sync.WaitGroup
	errs := make([]error, len(r.Machines()))
	for i, m := range r.Machines() {
		all.Go(func() { errs[i] = f(i, m) })
	}
	all.Wait()
	for _, err := range errs {
		must(r.T, err)
	}
}

// run runs these commands, as written in the guide, in a machine.
func run(t *testing.T, m *Machine, commands ...string) error {
	for _, command := range commands {
		if out, err := m.Exec(within(t, rolloutTime), strings.Fields(command)...); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	return nil
}

// TestGuide does what the guide says, with the packages, the units as they are, and
// the guide's own settings and commands.
func TestGuide(t *testing.T) {
	requires(t, lacking)
	g := readGuide(t)
	r := newGuideFleet(t, debian(t), buildPackages(t))
	r.everywhere(func(_ int, m *Machine) error {
		return run(t, m, "mkdir /var/lib/dpkg/updates", "dpkg --install /opt/coordd.deb /opt/locksmith.deb")
	})
	a := r.Machines()[0]
	for _, unit := range []string{"coordd.service", "locksmithd.service"} {
		if got := execute(t, a, "cat", "/usr/lib/systemd/system/"+unit); got != strings.TrimSpace(deployed(t, unit)) {
			t.Errorf("%s is installed as\n%s", unit, got)
		}
	}
	if state, err := a.Exec(t.Context(), "systemctl", "is-enabled", "coordd", "locksmithd"); state != "disabled\ndisabled\n" {
		t.Errorf("after the installation the units are %q, %v", state, err)
	}

	must(t, a.WriteFile(agentSettings, address(g.agent)))
	must(t, run(t, a, "locksmithd config")) // with its window
	r.everywhere(func(i int, m *Machine) error {
		return errors.Join(
			m.WriteFile("/etc/coordd/coordd.env", g.storeOf(i, m.Name)),
			m.WriteFile(agentSettings, g.withoutWindows(t)),
			m.WriteFile("/etc/locksmith/locksmithd.yaml.d/60-try.yaml", trySettings),
			run(t, m, "locksmithd config"))
	})
	r.enable(g.enable)
	r.connect()
	for _, m := range r.Machines() {
		r.awaitAgent(m, "idle", "")
	}
	r.tryGuide(g.commands)

	changes := r.changes()
	for _, wrong := range r.judge(Rules{MaxDown: 1}, changes) {
		t.Error(wrong)
	}
	for _, m := range r.Machines() {
		if boots := m.Boots(); len(boots) != 2 {
			t.Errorf("boots of %s: %v", m.Name, boots)
		}
		if got, want := execute(t, m, "cat", hookLog), fmt.Sprintf("before %s false\nafter %[1]s true", m.Name); got != want {
			t.Errorf("hooks of %s: %q, want %q", m.Name, got, want)
		}
		if got := show(t, m, "locksmithd.service", "CapabilityBoundingSet"); got != "" {
			t.Errorf("the agent of %s has %s", m.Name, got)
		}
	}
}

// enable runs the commands of the third step. On the first machine they wait for a second.
func (r *rollout) enable(commands []string) {
	r.Helper()
	first, others := r.Machines()[0], r.Machines()[1:]
	alone := make(chan error, 1)
	go func() { alone <- run(r.T, first, commands...) }()
	_, err := first.WaitJournal(within(r.T, rolloutTime), "locksmithd.service", "Started locksmithd.service") // without a store
	must(r.T, err)
	if state := show(r.T, first, "coordd.service", "ActiveState"); state != "activating" {
		r.Errorf("the member of %s is %s without another one", first.Name, state)
	}
	for _, m := range others {
		must(r.T, run(r.T, m, commands...))
	}
	must(r.T, <-alone)
}

// tryGuide is its last step: a plan, a wish on all machines, and a watch.
func (r *rollout) tryGuide(commands []string) {
	r.Helper()
	if len(commands) != 3 || commands[1] != "touch "+rebootWanted {
		r.Fatalf("the guide ends with %q", commands)
	}
	plan, touch, watch := strings.Fields(commands[0]), commands[1], strings.Fields(commands[2])
	a := r.Machines()[0]
	r.settled(execute(r.T, a, plan...))
	seen := r.watch(watch[1:]...)
	r.everywhere(func(_ int, m *Machine) error { return run(r.T, m, touch) })
	r.awaitReboots(r.Machines()...)
	shown := seen()
	for _, m := range r.Machines() {
		if !strings.Contains(shown, "\n"+m.Name+" ") {
			r.Errorf("the watch has never shown %s:\n%s", m.Name, shown)
		}
	}
	if !strings.Contains(shown, "holds (") || !strings.Contains(shown, "1 of 1 slots taken") {
		r.Errorf("the watch has shown no slot:\n%s", shown)
	}
	r.settled(execute(r.T, a, plan...))
}

const allSettled = "Group default: 0 of 1 slots taken, 0 waiting, 0 kept from asking, 3 settled"

// settled demands a plan of machines that are all settled.
func (r *rollout) settled(plan string) {
	r.Helper()
	if !strings.HasPrefix(plan, allSettled) || strings.Count(plan, " settled ") != 3 {
		r.Errorf("the plan, with all %d machines settled:\n%s", len(r.Machines()), plan)
	}
}

// watch starts a locksmithctl that goes on until seen is called, which returns what it has shown.
func (r *rollout) watch(args ...string) (seen func() string) {
	r.Helper()
	cmd := exec.CommandContext(within(r.T, rolloutTime), program(r.T, "locksmithctl"),
		append([]string{"-endpoint", strings.Join(r.endpoints, ",")}, args...)...)
	var shown bytes.Buffer
	cmd.Stdout, cmd.Stderr = &shown, &shown
	must(r.T, cmd.Start())
	return func() string {
		must(r.T, cmd.Process.Signal(os.Interrupt))
		if err := cmd.Wait(); err != nil {
			r.Errorf("the watch ended with %v:\n%s", err, &shown)
		}
		return shown.String()
	}
}
