//go:build unix && !linux

package main

import "os/exec"

func dieWithParent(*exec.Cmd) {}

func adoptOrphans() {}

func reapGroup(int) {}
