//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup makes a command that is to be started the leader of a process group.
func ownGroup(c *exec.Cmd) bool {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return true
}

func signalGroup(leader *os.Process, s os.Signal) {
	syscall.Kill(-leader.Pid, s.(syscall.Signal)) // fails if all have ended, which is as well
}
