package machines

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// rebootCode is how systemd-nspawn ends when its machine reboots.
const rebootCode = 133

// byReboot is the detail of such an end.
const byReboot = "reboot"

// noClock are the rights that no command gets which [Machine.Exec] runs: what they
// change is the host's as well.
const noClock = "-sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm"

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

// boot is one run of a machine, from power on to its end.
type boot struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{} // closed after its end was recorded
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

// Start turns the machine on. It must be off.
func (m *Machine) Start() error {
	m.mu.Lock()
	m.stay = false
	m.mu.Unlock()
	if err := m.WriteFile("/etc/hosts", m.fleet.hosts()); err != nil {
		return err
	}
	return m.boot()
}

func (m *Machine) boot() error {
	group := m.group()
	if err := os.Mkdir(group, 0o755); err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	dir, err := os.Open(group)
	if err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	defer dir.Close()
	log, err := os.OpenFile(filepath.Join(m.fleet.logs, m.Name+".console"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	args := []string{
		"--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe",
		"--directory=" + m.path(), "--machine=" + m.Name, "--network-bridge=" + bridge,
		"--link-journal=no", "--resolv-conf=off", "--timezone=off",
	}
	for inside, outside := range m.spec.Programs {
		args = append(args, "--bind-ro="+outside+":"+inside)
	}
	b := &boot{cmd: exec.Command("systemd-nspawn", args...), log: log, ended: make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Setpgid: true}
	m.fleet.record(m.Name, Booting, "", "")
	if err := b.cmd.Start(); err != nil {
		log.Close()
		return fmt.Errorf("machines: boot %s: %w", m.Name, err)
	}
	m.mu.Lock()
	m.last = b
	m.mu.Unlock()
	go m.follow(b)
	return nil
}

// follow waits for the end of a boot, and boots anew after a reboot.
func (m *Machine) follow(b *boot) {
	defer close(b.ended)
	err := b.cmd.Wait()
	b.log.Close()
	code := b.cmd.ProcessState.ExitCode()
	if cleanup := removeGroup(m.group()); cleanup != nil {
		err = errors.Join(err, cleanup)
	}
	m.mu.Lock()
	again := code == rebootCode && !m.stay
	m.mu.Unlock()
	switch {
	case code == rebootCode:
		m.fleet.record(m.Name, Ended, "", byReboot)
	case code == 0:
		m.fleet.record(m.Name, Ended, "", "power off")
	default:
		m.fleet.record(m.Name, Ended, "", fmt.Sprint(err))
	}
	if again {
		if err := m.boot(); err != nil {
			m.fleet.record(m.Name, Ended, "", err.Error())
		}
	}
}

// StayOff keeps the machine off after its next end, as one that does not come back
// from its reboot. Start boots it all the same.
func (m *Machine) StayOff() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stay = true
}

// PowerCut takes the machine's power: the network first, so that nobody hears its
// last words. It stays off until it is started.
func (m *Machine) PowerCut() error {
	m.StayOff()
	m.fleet.record(m.Name, Cut, "", "")
	ip("link set " + m.cable() + " down") // there is none when the machine is off
	return m.kill()
}

// kill ends the machine, if it is on, and waits for the end. Told to stay off, it may
// still be on its way into the next boot.
func (m *Machine) kill() error {
	for killed := (*boot)(nil); ; {
		m.mu.Lock()
		b := m.last
		m.mu.Unlock()
		if b == killed {
			return nil
		}
		if err := killGroup(m.group()); err != nil {
			return err
		}
		<-b.ended
		killed = b
	}
}

// remove ends the machine and takes what lies outside of its directory away.
func (m *Machine) remove() error {
	m.StayOff()
	err := m.kill()
	return errors.Join(err, syscall.Unmount(m.path("usr"), syscall.MNT_DETACH))
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

func (m *Machine) journalctl(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--directory=" + m.path("var/log/journal"), "--no-pager", "--quiet"}, args...)
	return exec.CommandContext(ctx, "journalctl", args...)
}

// AwaitJournal waits until a unit has logged a line with this text in it, in whichever boot.
func (m *Machine) AwaitJournal(ctx context.Context, unit, text string) error {
	ctx, cancel := context.WithCancel(ctx)
	cmd := m.journalctl(ctx, "--unit="+unit, "--output=cat", "--lines=all", "--follow")
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return fmt.Errorf("machines: %w", err)
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return fmt.Errorf("machines: follow the journal of %s: %w", m.Name, err)
	}
	defer func() { cancel(); cmd.Wait() }() // journalctl follows for ever
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), text) {
			return nil
		}
	}
	return fmt.Errorf("machines: %s of %s did not log %q: %w", unit, m.Name, text, errors.Join(ctx.Err(), errors.New("its journal has no more")))
}
