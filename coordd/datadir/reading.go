package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrRunning says that the member whose directory it is runs.
var ErrRunning = errors.New("datadir: the member runs: stop it, or look at a copy of its directory")

// LockForReading keeps the member from starting until the result is closed, and
// writes nothing. Several may hold it. A copy without the lock's file needs none.
// [ErrRunning].
func (l Layout) LockForReading() (io.Closer, error) {
	file, err := os.Open(l.Lock())
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	if err != nil {
		return nil, fmt.Errorf("datadir: lock: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		file.Close() // nothing was done with it
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, fmt.Errorf("datadir: lock %s: %w", l.Lock(), err)
	}
	return file, nil
}
