package restart

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// errLocked says that another process has the machine's lock.
var errLocked = errors.New("locked")

// lockInterval is how often a lock that another process has is asked for.
const lockInterval = 250 * time.Millisecond

// lockMachine keeps other restarts of the group on this machine out until the file
// is closed, also by the end of the process. So whoever has it knows that the record
// of this machine, if there is one, is of a restart that is over.
func lockMachine(ctx context.Context, dir, group string) (*os.File, error) {
	for {
		file, err := tryLockMachine(dir, group)
		if !errors.Is(err, errLocked) {
			return file, err
		}
		select {
		case <-time.After(lockInterval):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// tryLockMachine returns errLocked if another process has the lock.
func tryLockMachine(dir, group string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("restart: %w", err)
	}
	// The programs that the restart runs do not inherit it: Go opens files so.
	file, err := os.OpenFile(filepath.Join(dir, "restart-"+url.QueryEscape(group)+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("restart: %w", err)
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return file, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			err = errLocked
		}
		return nil, errors.Join(fmt.Errorf("restart: lock %s: %w", file.Name(), err), file.Close())
	}
}
