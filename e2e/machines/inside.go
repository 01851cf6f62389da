package machines

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// noClock are the rights that no command gets which [Machine.Exec] runs: what they
// change is the host's as well.
const noClock = "-sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm"

// leader is the process id, here, of the machine's first process.
func (m *Machine) leader() (int, error) {
	m.mu.Lock()
	b := m.last
	m.mu.Unlock()
	if b == nil {
		return 0, fmt.Errorf("machines: %s is off", m.Name)
	}
	pid := b.cmd.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return 0, fmt.Errorf("machines: %s is off: %w", m.Name, err)
	}
	for _, child := range strings.Fields(string(children)) {
		id, err := strconv.Atoi(child)
		if err != nil {
			return 0, fmt.Errorf("machines: %w", err)
		}
		if isFirst(id) {
			return id, nil
		}
	}
	return 0, fmt.Errorf("machines: %s has no first process", m.Name)
}

// isFirst tells whether a process has the id 1 in its own namespace.
func isFirst(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(ids)
			return len(fields) > 1 && fields[len(fields)-1] == "1"
		}
	}
	return false
}

// Exec runs a command in the machine, which is on, as root, and returns what it printed. A
// process that shall stay belongs into a unit of its own: systemd-run starts one.
func (m *Machine) Exec(ctx context.Context, argv ...string) (string, error) {
	leader, err := m.leader()
	if err != nil {
		return "", err
	}
	args := []string{
		"--target", strconv.Itoa(leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
		"setpriv", "--bounding-set", noClock, "--inh-caps", noClock, "--",
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(args, argv...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("machines: %s: %s: %w: %s", m.Name, strings.Join(argv, " "), err, out)
	}
	return string(out), nil
}

// Journal is what a unit has logged, or all if it is empty, through all boots; the
// machine may be off.
func (m *Machine) Journal(ctx context.Context, unit string) (string, error) {
	args := []string{"--output=short-iso-precise"}
	if unit != "" {
		args = append(args, "--unit="+unit)
	}
	out, err := m.journalctl(ctx, args...).Output()
	if err != nil {
		return "", fmt.Errorf("machines: journal of %s: %w", m.Name, err)
	}
	return string(out), nil
}

// WaitJournal waits until a unit has logged a line with this text in it, in this boot
// or an earlier one, and returns the line.
func (m *Machine) WaitJournal(ctx context.Context, unit, text string) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := m.journalctl(ctx, "--follow", "--lines=all", "--output=cat", "--unit="+unit)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return "", fmt.Errorf("machines: journal of %s: %w", m.Name, err)
	}
	defer cmd.Wait()
	defer cancel() // kills it
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), text) {
			return lines.Text(), nil
		}
	}
	return "", fmt.Errorf("machines: %s of %s has not logged %q: %w", unit, m.Name, text, ctx.Err())
}

func (m *Machine) journalctl(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--directory=" + m.path("var/log/journal"), "--no-pager", "--quiet"}, args...)
	return exec.CommandContext(ctx, "journalctl", args...)
}
