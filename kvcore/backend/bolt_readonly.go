package backend

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// OpenBoltReadOnly opens the store in the file at path and changes nothing in
// it, be it that buckets are missing, or that something follows the last page,
// as the checksum of a backup does. Every Commit fails. Others may read the file
// at the same time; ErrInUse while one has it open for writing, and ErrDamaged as
// OpenBolt.
func OpenBoltReadOnly(path string) (Backend, error) {
	b, err := openReadOnly(path)
	if err != nil {
		return nil, fmt.Errorf("backend: open %s: %w", path, err)
	}
	return b, nil
}

func openReadOnly(path string) (b *bolt, err error) {
	if err := verifyBolt(path); err != nil {
		return nil, err
	}
	defer func() { // as openDB
		if p := recover(); p != nil {
			b, err = nil, fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	db, err := bbolt.Open(path, 0, &bbolt.Options{
		ReadOnly:        true,
		PreLoadFreelist: true,            // to know how much is free
		Timeout:         time.Nanosecond, // one attempt at the lock
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, ErrInUse
	}
	if err != nil {
		return nil, err
	}
	b = newBolt(path, db, 0)
	if err := b.publish(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return b, nil
}
