//go:build !unix

package main

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) bool { return false }

func signalGroup(leader *os.Process, s os.Signal) { leader.Signal(s) }
