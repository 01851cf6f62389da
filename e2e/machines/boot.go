package machines

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// rebootCode is how systemd-nspawn ends when its machine reboots.
const rebootCode = 133

// byReboot is the detail of such an end.
const byReboot = "reboot"

// boot is one run of a machine, from power on to its end.
type boot struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{} // closed after its end was recorded
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
	m.unplug()
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

// unplug removes the cable, which outlives a machine that was killed until the kernel
// gets round to its network: the next boot would find the name taken.
func (m *Machine) unplug() {
	if _, err := net.InterfaceByName(m.cable()); err == nil {
		ip("link del " + m.cable()) // fails where the kernel was faster
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
