package machines

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	groupPrefix = "coordd-machines."
	groupRoot   = "/sys/fs/cgroup" // where systemd looks for the unified hierarchy
)

// killGroup kills all processes in a control group and below.
func killGroup(group string) error {
	err := os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("machines: %w", err)
	}
	return nil
}

// removeGroup removes a control group and those below it, with what still runs there.
func removeGroup(group string) error {
	if err := killGroup(group); err != nil {
		return err
	}
	var groups []string
	err := filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	for _, path := range slices.Backward(groups) {
		if err := removeOne(path); err != nil {
			return fmt.Errorf("machines: remove control group: %w", err)
		}
	}
	return nil
}

// removeOne waits for the processes in a control group, which were killed: the kernel
// has no event for the moment in which the last one has left.
func removeOne(path string) error {
	const pause, patience = 10 * time.Millisecond, 10 * time.Second
	for tries := patience / pause; ; tries-- {
		err := os.Remove(path)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) || tries == 0 {
			return err
		}
		time.Sleep(pause)
	}
}
