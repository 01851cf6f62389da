//go:build unix && !aix && !solaris

// Package fencefile fences a file: a mark beside it remembers the highest tokens that were admitted, and writers that were
// overtaken are refused. It works between the processes of one machine, and between machines on a file system whose
// flock works between them.
//
// Beside <path> stand
//
//	<path>.fence  the text form of the fence.Mark and a line feed, replaced by renaming
//	<path>.lock   always empty, locked with flock(2) by whoever looks at the mark; never to be removed
//
// The mark is raised before anything is written, and is on disk when the write begins: a crash at any point leaves the
// former content or the new one, and a mark that refuses whoever was overtaken. What has the name of a temporary file,
// <path>.tmp or <path>.fence.tmp, was left by a crash and is replaced.
package fencefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coordd/coordd/recipes/fence"
)

// File is a file that only the holders of a lock may write, and only through this package. Its methods may be used
// concurrently, by as many processes as like to.
type File struct {
	Path     string // not a symbolic link: it would be replaced
	Resource string // what is locked, named as in fence.Fields
	Slot     string // the semaphore's slot that the file belongs to; "" for a mutex, an RW lock or an election
}

// Advance raises the mark to t. When it returns nil, writes of those that t overtook are over, and others of theirs will
// be refused. A holder calls it before it first reads what it is going to write. The errors are those of Do.
func (f File) Advance(ctx context.Context, t fence.Token) error {
	return f.Do(ctx, t, func() error { return nil })
}

// WriteFile replaces the content, as a whole, if t may write. It is on disk when WriteFile returns nil. The permissions
// are perm less the umask. The errors are those of Do and of the file system.
func (f File) WriteFile(ctx context.Context, t fence.Token, data []byte, perm fs.FileMode) error {
	return f.Do(ctx, t, func() error { return replace(f.Path, data, perm) })
}

// Do raises the mark to t and runs write, alone among all processes, if t may write. write must not use f. A process that
// is stopped in write makes all others wait until it goes on or dies; they give up when ctx is done, with its cause.
// When t may not write the error is fence.ErrStale, for a token that was overtaken, or fence.ErrIncomparable. A mark file
// that cannot be read refuses everybody, with fence.ErrMalformed.
func (f File) Do(ctx context.Context, t fence.Token, write func() error) (err error) {
	if err := fence.NewScope(f.Resource, f.Slot).Covers(t); err != nil {
		return err
	}
	lock, err := acquire(ctx, f.Path+".lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := f.admit(t); err != nil {
		return err
	}
	return write()
}

// retryInterval is how often a lock that somebody else has is asked for. flock(2) cannot be told to give up.
const retryInterval = 5 * time.Millisecond

// acquire waits for the lock, which ends when the file is closed: also when the process dies.
func acquire(ctx context.Context, name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("fencefile: %w", err)
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return file, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, errors.Join(fmt.Errorf("fencefile: lock %s: %w", name, err), file.Close())
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("fencefile: lock %s: %w", name, context.Cause(ctx)), file.Close())
		}
	}
}

// admit raises the mark file to t. The lock is held.
func (f File) admit(t fence.Token) error {
	name := f.Path + ".fence"
	before, err := readMark(name)
	if err != nil {
		return fmt.Errorf("fencefile: %s: %w", name, err)
	}
	after, err := before.Admit(t)
	switch {
	case err != nil:
		return err
	case after == before: // whoever wrote it may have died before its name was on disk
		return syncDir(name)
	}
	return replace(name, []byte(after.String()+"\n"), 0o666)
}

// readMark reads the zero Mark where there is no file. An empty file is no mark: somebody damaged it.
func readMark(name string) (fence.Mark, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fence.Mark{}, nil
	} else if err != nil {
		return fence.Mark{}, err
	}
	var mark fence.Mark
	text, whole := strings.CutSuffix(string(data), "\n")
	if !whole || text == "" {
		return fence.Mark{}, fmt.Errorf("%w: not one line", fence.ErrMalformed)
	}
	return mark, mark.UnmarshalText([]byte(text))
}

// replace gives name the content in one step, and returns when it is on disk. The lock is held, so nobody else uses the
// temporary name.
func replace(name string, data []byte, perm fs.FileMode) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("fencefile: %w", err)
		}
	}()
	temporary := name + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) { // it would keep its permissions
		return err
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, name); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncDir(name)
}

// syncDir puts the entry of name in its directory on disk.
func syncDir(name string) error {
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
