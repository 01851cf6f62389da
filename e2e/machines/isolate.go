package machines

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// insideVariable is set in the environment of the program that runs in the namespaces.
const insideVariable = "COORDD_MACHINES_INSIDE"

// stateDir is where the machines' files are: a tmpfs that only this program sees.
const stateDir = "/run/machines"

// Lacking says what this host lacks to run machines, or nil.
func Lacking() error {
	if os.Geteuid() != 0 {
		return errors.New("machines: only root can boot machines")
	}
	for _, program := range []string{"systemd-nspawn", "systemd-sysusers", "journalctl", "dbus-daemon", "ip", "nsenter", "setpriv"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("machines: %w; apt-get install systemd-container dbus iproute2", err)
		}
	}
	_, err := unifiedHierarchy()
	return err
}

// Isolated runs the calling program once more, as the first process of namespaces of
// its own, and there it calls run. It returns the exit code in either of them. It is
// to be called on the main goroutine.
func Isolated(run func() int) int {
	if os.Getenv(insideVariable) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return run()
	}
	code, err := enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// enter runs this program in a control group and namespaces of its own.
func enter() (code int, err error) {
	hierarchy, err := unifiedHierarchy()
	if err != nil {
		return 0, err
	}
	sweep(hierarchy)
	group := filepath.Join(hierarchy, fmt.Sprintf("%s%d", groupPrefix, os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		return 0, fmt.Errorf("machines: %w", err)
	}
	defer func() { err = errors.Join(err, removeGroup(group)) }()
	dir, err := os.Open(group)
	if err != nil {
		return 0, fmt.Errorf("machines: %w", err)
	}
	defer dir.Close()
	runtime.LockOSThread() // the child is killed when the thread that started it ends
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWCGROUP,
		Pdeathsig:   syscall.SIGKILL,
		UseCgroupFD: true, CgroupFD: int(dir.Fd()),
	}
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil // it was killed where the code is -1
	}
	if err != nil {
		return 0, fmt.Errorf("machines: enter namespaces: %w", err)
	}
	return 0, nil
}

// prepare makes the namespaces a place where machines can boot.
func prepare() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("machines: keep mounts private: %w", err)
	}
	// The same hierarchy cannot be mounted on itself, with another root.
	if err := syscall.Unmount(groupRoot, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("machines: unmount %s: %w", groupRoot, err)
	}
	for _, m := range []struct{ kind, at, options string }{
		{"proc", "/proc", ""},
		{"tmpfs", "/run", "mode=755"},
		{"cgroup2", groupRoot, ""},
		{"tmpfs", stateDir, "mode=755"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return fmt.Errorf("machines: %w", err)
		}
		if err := syscall.Mount(m.kind, m.at, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("machines: mount %s: %w", m.at, err)
		}
	}
	return ip("link set lo up")
}

// ip runs one command of the program of that name; no argument has blanks in it.
func ip(command string) error {
	if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		return fmt.Errorf("machines: ip %s: %w: %s", command, err, out)
	}
	return nil
}

// unifiedHierarchy is where the host has mounted the unified control groups.
func unifiedHierarchy() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", fmt.Errorf("machines: %w", err)
	}
	found := ""
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			found = fields[1] // the last one: an earlier one may be covered by it
		}
	}
	if found == "" {
		return "", errors.New("machines: no cgroup2 is mounted on this host")
	}
	return found, nil
}

// sweep removes the control groups of programs that were killed.
func sweep(hierarchy string) {
	left, err := filepath.Glob(filepath.Join(hierarchy, groupPrefix+"*"))
	if err != nil {
		return
	}
	for _, group := range left {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(group), groupPrefix))
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			removeGroup(group) // fails where another program does the same
		}
	}
}
