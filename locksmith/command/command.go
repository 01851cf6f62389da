// Package command runs one program within bounds: of time, of output, and of the
// processes it leaves behind.
//
// A program is an argument vector, never a line for a shell. It reads /dev/null
// and leads a process group of its own. When the context ends the whole group is
// killed, at once and with a signal that none can ignore; when the program ends by
// itself, what is left of its group is killed as well. Whoever wants to leave
// something running hands it to the service manager (systemd-run), or starts a
// session of its own (setsid), which nobody here can follow.
package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// afterlife is how long output is awaited from those who left the process group.
const afterlife = time.Second

// Options are what a run may have beside its argument vector.
type Options struct {
	// Env is added to this process's environment, as KEY=value; the last one wins.
	Env []string
	// Line, if not nil, is given each line of output and errors as it comes, without its end and cut to MaxLine bytes,
	// one at a time, MaxLines at most.
	Line func(line string)
}

// Result is what a program said and how it ended.
type Result struct {
	ExitCode int    // 0–255; -1 where it did not end by itself
	Stdout   string // its first MaxOutput bytes
	Stderr   string // likewise
}

// Run runs a program and waits for its end. That it could not be started, was
// killed, or had not ended when ctx did is an error; an exit code other than 0 is not.
func Run(ctx context.Context, argv []string, o Options) (Result, error) {
	if err := Validate(argv); err != nil {
		return Result{ExitCode: -1}, fmt.Errorf("command: %w", err)
	}
	lines := &lineWriter{line: o.Line}
	stdout, stderr := capture{lines: lines}, capture{lines: lines}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(environment(), o.Env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = afterlife
	if err := cmd.Start(); err != nil {
		return Result{ExitCode: -1}, fmt.Errorf("command: start: %w", err)
	}
	awaitExit(cmd.Process.Pid)
	killGroup(cmd.Process.Pid) // not reaped yet: the number is still its own
	waitErr := cmd.Wait()
	if cmd.ProcessState == nil {
		return Result{ExitCode: -1}, fmt.Errorf("command: wait for %s: %w", argv[0], waitErr)
	}
	lines.flush(&stdout)
	lines.flush(&stderr)
	r := Result{ExitCode: cmd.ProcessState.ExitCode(), Stdout: stdout.kept.String(), Stderr: stderr.kept.String()}
	if cmd.ProcessState.Exited() {
		return r, nil
	}
	if ctx.Err() != nil {
		return r, fmt.Errorf("command: %s has not ended in time: %w", argv[0], context.Cause(ctx))
	}
	return r, fmt.Errorf("command: %s: %s", argv[0], cmd.ProcessState)
}

// Validate says what is wrong with an argument vector, or nil. That there is such
// a program is known when it is run.
func Validate(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("the program's name is missing")
	}
	if slices.ContainsFunc(argv, func(s string) bool { return strings.ContainsRune(s, 0) }) {
		return fmt.Errorf("%q has an argument with a zero byte", argv[0])
	}
	return nil
}

// ValidateAll says what is wrong with the argument vectors of a setting, or nil.
func ValidateAll(setting string, programs [][]string) error {
	var errs []error
	for i, argv := range programs {
		if err := Validate(argv); err != nil {
			errs = append(errs, fmt.Errorf("%s[%d]: %w", setting, i, err))
		}
	}
	return errors.Join(errs...)
}

// environment is this process's, without what was meant for it alone: by the service
// manager, and by who set up the agent, with a password among it perhaps.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool {
		key, _, _ := strings.Cut(s, "=")
		return strings.HasPrefix(key, "LOCKSMITHD_") || slices.Contains([]string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}, key)
	})
}

// awaitExit returns when the child has ended, and leaves it to be waited for: its
// number cannot be another's until then, and so neither can its group's.
func awaitExit(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// killGroup kills all processes of a group. That none is left is no error.
func killGroup(pid int) error {
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		return os.ErrProcessDone
	}
	return nil
}
