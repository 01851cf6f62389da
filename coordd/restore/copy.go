package restore

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/coordd/coordd/coordd/disk"
)

// sectorBytes is what a bbolt file is a multiple of, whatever its page size: by
// that a checksum behind it is told.
const sectorBytes = 512

// source is a backup's file.
type source struct {
	*os.File
	storeBytes int64 // of the bbolt file; a checksum follows where that is not all
	checksum   bool
}

func openSource(path string) (source, error) {
	file, err := os.Open(path)
	if err != nil {
		return source{}, fmt.Errorf("restore: open backup: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return source{}, errors.Join(fmt.Errorf("restore: open backup: %w", err), file.Close())
	}
	s := source{File: file, storeBytes: info.Size(), checksum: info.Size()%sectorBytes == sha256.Size}
	if s.checksum {
		s.storeBytes -= sha256.Size
	}
	return s, nil
}

// copyTo writes the bbolt file to w and says whether its checksum is right.
func (s source) copyTo(w io.Writer) (intact bool, err error) {
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(w, sum), s, s.storeBytes); err != nil {
		return false, fmt.Errorf("restore: copy backup: %w", err)
	}
	var want [sha256.Size]byte
	if !s.checksum {
		return true, nil
	}
	if _, err := io.ReadFull(s, want[:]); err != nil {
		return false, fmt.Errorf("restore: read checksum: %w", err)
	}
	return bytes.Equal(sum.Sum(nil), want[:]), nil
}

// copyStore copies the bbolt file of a backup, durably.
func copyStore(fsys disk.FS, from, to string, skipHashCheck bool) (err error) {
	s, err := openSource(from)
	if err != nil {
		return err
	}
	defer s.Close() // it was only read
	if !s.checksum && !skipHashCheck {
		return fmt.Errorf("%w: %s is cut off, or is a copy of a member's store, which --skip-hash-check takes", ErrNoChecksum, from)
	}
	file, err := fsys.Create(to)
	if err != nil {
		return fmt.Errorf("restore: copy backup: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	intact, err := s.copyTo(io.NewOffsetWriter(file, 0))
	if err != nil {
		return err
	}
	if !intact && !skipHashCheck {
		return fmt.Errorf("%w: %s", ErrChecksum, from)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("restore: sync %s: %w", to, err)
	}
	if err := fsys.SyncDir(filepath.Dir(to)); err != nil {
		return fmt.Errorf("restore: sync %s: %w", filepath.Dir(to), err)
	}
	return nil
}
