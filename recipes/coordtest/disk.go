package coordtest

import (
	"io"

	"github.com/coordd/coordd/coordd/disk"
)

// nowhere is the disk of a server that is never started again: what its log writes is never read. It is a disk.FS and
// the disk.File of everything on it.
type nowhere struct{}

func (nowhere) Create(string) (disk.File, error)       { return nowhere{}, nil }
func (nowhere) Open(string) (disk.File, error)         { return nowhere{}, nil }
func (nowhere) Remove(string) error                    { return nil }
func (nowhere) Rename(string, string) error            { return nil }
func (nowhere) MkdirAll(string) error                  { return nil }
func (nowhere) List(string) ([]string, error)          { return nil, nil }
func (nowhere) SyncDir(string) error                   { return nil }
func (nowhere) Lock(string) (io.Closer, error)         { return nowhere{}, nil }
func (nowhere) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nowhere) Size() (int64, error)                   { return 0, nil }
func (nowhere) Truncate(int64) error                   { return nil }
func (nowhere) Sync() error                            { return nil }
func (nowhere) Close() error                           { return nil }
