//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// ownGroup makes a command that is to be started the leader of a process group.
func ownGroup(c *exec.Cmd) bool {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return true
}

func signalGroup(leader *os.Process, s os.Signal) {
	syscall.Kill(-leader.Pid, s.(syscall.Signal)) // fails if all have ended, which is as well
}

// passedOn are the signals that a command gets when coordctl does. Ctrl-Z is caught and not passed on: coordctl must not
// stop while the command runs.
var passedOn = []os.Signal{
	os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTSTP,
}

func isKeyboardStop(s os.Signal) bool { return s == syscall.SIGTSTP }

// groupPoll is how often to look whether a group is gone whose last processes are not coordctl's to wait for.
const groupPoll = 10 * time.Millisecond

// awaitGroup returns when no process of a group is left, whose leader has ended and was waited for.
func awaitGroup(group int) {
	for {
		reapGroup(group)
		if err := syscall.Kill(-group, 0); errors.Is(err, syscall.ESRCH) {
			return
		}
		time.Sleep(groupPoll)
	}
}
