package main

import (
	"os"
	"os/exec"
)

// child is a command that runs while coordctl holds something.
type child struct {
	*exec.Cmd
	grouped bool // it and its descendants are a process group of their own
}

// newChild prepares a command. On a terminal it stays in coordctl's process group, so that Ctrl-C and Ctrl-Z reach both.
func newChild(command []string) *child {
	c := &child{Cmd: exec.Command(command[0], command[1:]...)}
	if !isTerminal(os.Stdin) {
		c.grouped = ownGroup(c.Cmd)
	}
	return c
}

// forward passes a signal on, unless the terminal has already sent it to the child too.
func (c *child) forward(s os.Signal) {
	if c.grouped {
		signalGroup(c.Process, s)
	} else if s != os.Interrupt {
		c.Process.Signal(s)
	}
}

// kill ends the child at once, and its descendants where they are a group.
func (c *child) kill() {
	if c.grouped {
		signalGroup(c.Process, os.Kill)
	} else {
		c.Process.Kill()
	}
}
