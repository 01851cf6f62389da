package snap

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path"

	"github.com/coordd/coordd/coordd/disk"
)

// syncEveryBytes bounds the dirty bytes of a store being received: one great
// flush at the end would hold up the log's syncs on the same disk.
const syncEveryBytes = 8 << 20

var (
	// ErrChecksum says that the received bytes are not those that were sent.
	ErrChecksum = errors.New("snap: checksum mismatch")
	// ErrEmpty says that a snapshot without a byte was received.
	ErrEmpty = errors.New("snap: empty snapshot")
	// ErrFinished says that a receiver was used after Commit or Abort.
	ErrFinished = errors.New("snap: receiver already finished")
)

// Receiver takes in one store, in order. It belongs to one goroutine. Each
// ends with Commit or Abort; after an error of Write only Abort is of use.
type Receiver struct {
	dir      *Dir
	name     string
	file     disk.File
	hash     hash.Hash
	size     int64
	unsynced int64
	finished bool
}

// Receive starts a new temporary file.
func (d *Dir) Receive() (*Receiver, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		d.received++
		name := partialName(d.received)
		file, err := d.fs.Create(path.Join(d.dir, name))
		if errors.Is(err, fs.ErrExist) {
			continue // left by an earlier run and not cleaned away yet
		}
		if err != nil {
			return nil, fmt.Errorf("snap: create %s: %w", name, err)
		}
		d.open[name] = true
		return &Receiver{dir: d, name: name, file: file, hash: sha256.New()}, nil
	}
}

// Write appends to the store.
func (r *Receiver) Write(data []byte) (int, error) {
	if r.finished {
		return 0, ErrFinished
	}
	n, err := r.file.WriteAt(data, r.size)
	r.hash.Write(data[:n])
	r.size += int64(n)
	r.unsynced += int64(n)
	if err != nil {
		return n, fmt.Errorf("snap: write %s: %w", r.name, err)
	}
	if r.unsynced >= syncEveryBytes {
		if err := r.sync(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Commit compares the SHA-256 of all bytes written with sum, makes them
// durable and gives them the name of p and the kind, replacing an older one of that name.
// After an error nothing is left of it, except that a failed sync of the
// directory may leave all. [ErrChecksum], [ErrEmpty].
func (r *Receiver) Commit(p Position, kind Kind, sum []byte) error {
	if r.finished {
		return ErrFinished
	}
	if err := r.commit(p, kind, sum); err != nil {
		return errors.Join(err, r.Abort())
	}
	return nil
}

func (r *Receiver) commit(p Position, kind Kind, sum []byte) error {
	if r.size == 0 {
		return ErrEmpty
	}
	if got := r.hash.Sum(nil); !bytes.Equal(got, sum) {
		return fmt.Errorf("%w: %d bytes of %s: got %x, sent %x", ErrChecksum, r.size, p, got, sum)
	}
	if err := r.sync(); err != nil {
		return err
	}
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("snap: close %s: %w", r.name, err)
	}
	d := r.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fs.Rename(path.Join(d.dir, r.name), path.Join(d.dir, receivedName(p, kind))); err != nil {
		return fmt.Errorf("snap: name received store %s: %w", receivedName(p, kind), err)
	}
	r.finished = true
	delete(d.open, r.name)
	if err := d.fs.SyncDir(d.dir); err != nil {
		return fmt.Errorf("snap: sync directory %s: %w", d.dir, err)
	}
	return nil
}

// Abort drops what was received. After Commit it does nothing, so that it may be deferred.
func (r *Receiver) Abort() error {
	if r.finished {
		return nil
	}
	r.finished = true
	r.file.Close() // its content is of no use any more, nor is the error
	d := r.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, r.name)
	if err := d.fs.Remove(path.Join(d.dir, r.name)); err != nil {
		return fmt.Errorf("snap: remove %s: %w", r.name, err)
	}
	return nil
}

func (r *Receiver) sync() error {
	if err := r.file.Sync(); err != nil {
		return fmt.Errorf("snap: sync %s: %w", r.name, err)
	}
	r.unsynced = 0
	return nil
}
