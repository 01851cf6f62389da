//go:build !unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

func ownGroup(*exec.Cmd) bool { return false }

func signalGroup(leader *os.Process, s os.Signal) { leader.Signal(s) }

// passedOn are the signals that a command gets when coordctl does.
var passedOn = []os.Signal{os.Interrupt, syscall.SIGTERM}

func isKeyboardStop(os.Signal) bool { return false }

func dieWithParent(*exec.Cmd) {}

func adoptOrphans() {}

func awaitGroup(int) {}
