package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	maxFileBytes = 1 << 20
	maxDropIns   = 256
)

// folders in which configuration is, the strongest first (man systemd.unit has the same order).
func folders() []string { return []string{"/etc/locksmith", "/run/locksmith", "/usr/lib/locksmith"} }

// files finds the file and the drop-ins that count, in the order in which they are to be read.
func files(root string) ([]string, error) {
	var found []string
	for _, folder := range folders() {
		path := filepath.Join(root, folder, "locksmithd.yaml")
		masked, err := isMasked(path)
		if errors.Is(err, fs.ErrNotExist) && !isLink(path) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		if !masked {
			found = append(found, path)
		}
		break
	}
	dropIns, err := dropIns(root)
	return append(found, dropIns...), err
}

// dropIns are the drop-ins that are not hidden, by rising name.
func dropIns(root string) ([]string, error) {
	byName := map[string]string{}
	for _, folder := range folders() {
		folder = filepath.Join(root, folder, "locksmithd.yaml.d")
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("config: %w", err)
		}
		for _, e := range entries {
			name := e.Name()
			if byName[name] == "" && strings.HasSuffix(name, ".yaml") && !strings.HasPrefix(name, ".") {
				byName[name] = filepath.Join(folder, name)
			}
		}
	}
	if len(byName) > maxDropIns {
		return nil, fmt.Errorf("config: %d drop-ins are too many, %d are allowed", len(byName), maxDropIns)
	}
	var found []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		masked, err := isMasked(byName[name])
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		if !masked {
			found = append(found, byName[name])
		}
	}
	return found, nil
}

// isMasked tells files that hide those of their name: they are empty, or links
// to /dev/null. As in systemd every device counts as that. Links are followed.
func isMasked(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return info.Mode().IsRegular() && info.Size() == 0 || info.Mode()&fs.ModeDevice != 0, nil
}

// isLink tells a link that leads nowhere from a file that is not there.
func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// readBounded reads a regular file of at most limit bytes. It does not wait for the other end of a pipe.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// What /proc has is regular too, with a size of 0.
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, nil
}

// readableByOthers tells files that every user of the machine can read.
func readableByOthers(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0
}
