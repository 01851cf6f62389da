// Package disk is the file system as the write-ahead log and the snapshots see
// it: few operations, each with a stated durability. [OS] is the machine's own
// file system; [Memory] is a simulated one that can lose power and fail on demand.
//
// Two promises matter, and everything above this package is built on them alone:
//
//   - What was written to a file is durable once [File.Sync] has returned nil.
//   - A name created, renamed or removed in a directory is durable once
//     [FS.SyncDir] of that directory has returned nil.
//
// Until then a crash may keep all of it, none of it, or any part of it, a part
// being a sector of [SectorSize] bytes or a piece of one. A failed Sync promises nothing, and a later
// successful one does not make up for it: the kernel may have dropped the dirty pages.
package disk

import (
	"errors"
	"fmt"
	"io"
)

// SectorSize is the unit, in bytes, in which un-synced writes survive a crash.
const SectorSize = 512

var (
	// ErrLocked says that another holder has the lock.
	ErrLocked = errors.New("disk: locked by another process")
	// ErrCrashed is returned by every handle of a [Memory] opened before its last crash.
	ErrCrashed = errors.New("disk: handle lost in a crash")
)

// FS is a file system. Names are slash-separated paths. Errors of missing and existing
// files match [io/fs.ErrNotExist] and [io/fs.ErrExist]. Safe for concurrent use.
type FS interface {
	// Create makes a new, empty file, open for reading and writing. It fails if name exists.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Remove deletes a file or an empty directory.
	Remove(name string) error
	// Rename moves a file, replacing the file at newName if there is one. Open handles follow the file.
	Rename(oldName, newName string) error
	// MkdirAll makes a directory and its missing parents; it is no error if it exists.
	// Each directory made is durable in its parent when MkdirAll returns.
	MkdirAll(dir string) error
	// List returns the base names of a directory's entries, sorted.
	List(dir string) ([]string, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// Lock takes an exclusive advisory lock on the file name, creating it if needed, without
	// waiting: ErrLocked if another holder has it. Closing the result gives it back.
	// The lock ends with its process.
	Lock(name string) (io.Closer, error)
}

// File is an open file. Reads and writes at different offsets may run at the same time; Close
// beside nothing else.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the file's length in bytes.
	Size() (int64, error)
	// Truncate sets the file's length in bytes; a grown part reads as zeros.
	Truncate(size int64) error
	// Sync makes the file's content and length durable (fdatasync). Its name is SyncDir's business.
	Sync() error
}

// Kind is what an [Op] does.
type Kind uint8

// The kinds of operation.
const (
	Create Kind = iota + 1
	Open
	Remove
	Rename
	MkdirAll
	List
	SyncDir
	Lock
	Read
	Write
	Size
	Truncate
	Sync
	Close
)

var kindNames = [...]string{
	Create: "create", Open: "open", Remove: "remove", Rename: "rename", MkdirAll: "mkdirall",
	List: "list", SyncDir: "syncdir", Lock: "lock", Read: "read", Write: "write", Size: "size",
	Truncate: "truncate", Sync: "sync", Close: "close",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Op is one operation on a file system, as faults are aimed at it.
type Op struct {
	Kind Kind
	Name string // the path as given, cleaned; of a rename the old one; of an open file the name it was opened by
}

func (op Op) String() string { return op.Kind.String() + " " + op.Name }
