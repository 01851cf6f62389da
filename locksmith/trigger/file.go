package trigger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/coordd/coordd/locksmith/line"
)

// sentinelFile is a file that wants a reboot by being there.
type sentinelFile string

// Name says which file.
func (f sentinelFile) Name() string { return "sentinel file " + string(f) }

// Wanted looks for the file. The reason is what <file>.pkgs lists, as Debian's and
// Ubuntu's packages write it, or else the first line of the file.
func (f sentinelFile) Wanted(context.Context) (string, error) {
	text, err := readStart(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	packages, err := readStart(string(f) + ".pkgs")
	if err == nil {
		if why := line.Of(packageList(packages), maxWhy); why != "" {
			return why, nil
		}
	}
	for first := range strings.Lines(text) {
		if why := line.Of(strings.Trim(first, "* \t\r\n"), maxWhy); why != "" { // Ubuntu: *** System restart required ***
			return why, nil
		}
	}
	return "it exists", nil
}

// maxText bounds, in bytes, what is read of a file: its text is for people.
const maxText = 16 << 10

// readStart reads the beginning of a regular file, and waits for nobody. Anything else than a regular file is an error.
func readStart(name string) (string, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe without a writer would make it wait
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxText))
	return string(b), err
}

// packageList puts the names of packages, one a line and often repeated, on one line.
func packageList(text string) string {
	if len(text) == maxText { // the last name may be half a name
		text = text[:strings.LastIndexByte(text, '\n')+1]
	}
	names := strings.Fields(text)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// maxWhy bounds, in bytes, a reason.
const maxWhy = 300
