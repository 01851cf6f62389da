package machines

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// hostFiles are the files below the host's /etc that a machine gets a copy of. No unit
// is among them, so nothing that the host has enabled starts in a machine.
var hostFiles = []string{
	"alternatives", "dbus-1", "group", "gshadow", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "login.defs",
	"needrestart", "nsswitch.conf", "pam.conf", "pam.d", "passwd", "polkit-1", "security", "shadow",
}

// upUnit tells the harness when the machine is up and when its shutdown begins: it is
// started before boot-complete.target is reached, and so ends after what comes after it.
const upUnit = `[Unit]
Description=Tells that the machine is up
After=network-online.target dbus.socket systemd-logind.service %[1]s
Before=boot-complete.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStartPre=/bin/systemctl is-active --quiet dbus.socket %[1]s
ExecStart=/bin/sh -c 'read boot < /proc/sys/kernel/random/boot_id; echo %[2]s up $boot > /harness/events'
ExecStop=/bin/sh -c 'read boot < /proc/sys/kernel/random/boot_id; echo %[2]s stopping $boot > /harness/events'
Restart=on-failure
RestartSec=250ms
`

// networkUnit gives the machine its address.
const networkUnit = `[Unit]
Description=The machine's network
DefaultDependencies=no
After=local-fs.target
Before=network-pre.target network.target network-online.target
Wants=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip addr add %s/24 dev host0
ExecStart=/sbin/ip link set host0 up
`

const journalConfig = `[Journal]
Storage=persistent
SystemMaxUse=16M
SystemMaxFileSize=2M
RateLimitIntervalSec=0
`

// install makes the machine's files.
func (m *Machine) install() error {
	for _, dir := range []string{"upper", "work"} {
		if err := os.MkdirAll(filepath.Join(m.dir, dir), 0o755); err != nil {
			return fmt.Errorf("machines: %w", err)
		}
	}
	for _, dir := range []string{
		"dev", "etc", "harness", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "usr", "var/log/journal",
	} {
		if err := os.MkdirAll(m.path(dir), 0o755); err != nil {
			return fmt.Errorf("machines: %w", err)
		}
	}
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.Symlink("usr/"+name, m.path(name)); err != nil {
			return fmt.Errorf("machines: %w", err)
		}
	}
	layers := fmt.Sprintf("lowerdir=/usr,upperdir=%s/upper,workdir=%[1]s/work", m.dir)
	if err := syscall.Mount("overlay", m.path("usr"), "overlay", 0, layers); err != nil {
		return fmt.Errorf("machines: mount overlay on /usr: %w", err)
	}
	if err := m.copyHostFiles(); err != nil {
		return err
	}
	if err := m.writeFiles(); err != nil {
		return err
	}
	// As a package's script does after its files are there.
	if out, err := exec.Command("systemd-sysusers", "--root="+m.path()).CombinedOutput(); err != nil {
		return fmt.Errorf("machines: users of %s: %w: %s", m.Name, err, out)
	}
	if err := os.Link(pipePath(), m.path("harness/events")); err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	return nil
}

func (m *Machine) copyHostFiles() error {
	args := []string{"-a", "--parents"}
	for _, name := range hostFiles {
		if _, err := os.Lstat(filepath.Join("/etc", name)); err == nil {
			args = append(args, name)
		}
	}
	cmd := exec.Command("cp", append(args, m.path("etc"))...)
	cmd.Dir = "/etc"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("machines: copy /etc: %w: %s", err, out)
	}
	return nil
}

func (m *Machine) writeFiles() error {
	files := map[string]string{
		"/etc/hostname":   m.Name + "\n",
		"/etc/machine-id": m.ID + "\n",
		"/etc/systemd/journald.conf.d/harness.conf":   journalConfig,
		"/etc/systemd/system/harness-up.service":      fmt.Sprintf(upUnit, strings.Join(m.spec.Vital, " "), m.Name),
		"/etc/systemd/system/harness-network.service": fmt.Sprintf(networkUnit, m.IP),
	}
	maps.Copy(files, m.spec.Files)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := m.WriteFile(path, files[path]); err != nil {
			return err
		}
	}
	// What it would set outside of the machine's network is the host's.
	if err := os.Symlink("/dev/null", m.path("etc/systemd/system/systemd-sysctl.service")); err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	wants := map[string][]string{
		"boot-complete.target.requires": {"harness-up.service"},
		"network-online.target.wants":   {"harness-network.service"},
		"multi-user.target.wants":       append([]string{"boot-complete.target", "network-online.target"}, m.spec.Units...),
	}
	for dir, units := range wants {
		dir = m.path("etc/systemd/system", dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("machines: %w", err)
		}
		for _, unit := range units {
			if err := os.Symlink(m.unitFile(unit), filepath.Join(dir, unit)); err != nil {
				return fmt.Errorf("machines: enable %s: %w", unit, err)
			}
		}
	}
	return nil
}

// unitFile is the path in the machine of a unit that is to be enabled.
func (m *Machine) unitFile(unit string) string {
	if _, err := os.Stat(m.path("etc/systemd/system", unit)); err == nil {
		return "/etc/systemd/system/" + unit
	}
	return "/usr/lib/systemd/system/" + unit
}
