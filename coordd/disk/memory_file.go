package disk

import (
	"io"
	"io/fs"
)

// memoryFile is an open handle on an inode.
type memoryFile struct {
	fs         *Memory
	name       string
	node       *inode
	generation int
	closed     bool
}

// begin takes the file system's lock if the handle is alive. The injected error of a write or sync is returned
// with the lock held, for these leave traces.
func (f *memoryFile) begin(kind Kind) (injected, dead error) {
	injected = f.fs.inject(kind, f.name)
	f.fs.mu.Lock()
	switch {
	case f.generation != f.fs.generation:
		dead = ErrCrashed
	case f.closed:
		dead = fs.ErrClosed
	default:
		return injected, nil
	}
	f.fs.mu.Unlock()
	return nil, &fs.PathError{Op: kind.String(), Path: f.name, Err: dead}
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	injected, dead := f.begin(Read)
	if dead != nil {
		return 0, dead
	}
	defer f.fs.mu.Unlock()
	if injected != nil {
		return 0, injected
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrInvalid}
	}
	if off >= int64(len(f.node.data)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	injected, dead := f.begin(Write)
	if dead != nil {
		return 0, dead
	}
	defer f.fs.mu.Unlock()
	if off < 0 {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrInvalid}
	}
	if injected != nil {
		p = p[:len(p)/2]
	}
	if len(p) > 0 {
		f.node.write(p, off)
	}
	return len(p), injected
}

func (f *memoryFile) Size() (int64, error) {
	injected, dead := f.begin(Size)
	if dead != nil {
		return 0, dead
	}
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), injected
}

func (f *memoryFile) Truncate(size int64) error {
	injected, dead := f.begin(Truncate)
	if dead != nil {
		return dead
	}
	defer f.fs.mu.Unlock()
	if injected != nil {
		return injected
	}
	if size < 0 {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: fs.ErrInvalid}
	}
	f.node.resize(size)
	return nil
}

func (f *memoryFile) Sync() error {
	injected, dead := f.begin(Sync)
	if dead != nil {
		return dead
	}
	defer f.fs.mu.Unlock()
	if injected != nil {
		f.node.syncFailed()
		return injected
	}
	f.node.sync()
	return nil
}

func (f *memoryFile) Close() error {
	injected, dead := f.begin(Close)
	if dead != nil {
		return dead
	}
	defer f.fs.mu.Unlock()
	f.closed = true
	return injected
}
