package main

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent has the kernel kill a command that is to be started when coordctl dies, however it dies. What the command
// has started itself lives on.
func dieWithParent(c *exec.Cmd) { c.SysProcAttr.Pdeathsig = syscall.SIGKILL }

// adoptOrphans makes coordctl the parent of descendants whose own parent ends, so that it can wait for them.
func adoptOrphans() {
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) // without it awaitGroup looks from time to time
}

// reapGroup waits for the processes of a group that are coordctl's children.
func reapGroup(group int) {
	for {
		if _, err := syscall.Wait4(-group, nil, 0, nil); err != nil && err != syscall.EINTR {
			return
		}
	}
}
