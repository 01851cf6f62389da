package restore

import (
	"errors"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"io"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
)

// Status is what a backup holds.
type Status struct {
	Hash      uint32 // CRC32C of all buckets' names, keys and values
	Revision  int64  // main revision of the last record; 0 without one
	TotalKey  int    // keys that live
	TotalSize int64  // bytes, without the checksum
	Version   string // etcd release whose layout it says it has; "" before 3.6
}

// Inspect reads the backup at path, or a store that no member uses. The fields
// are those that etcd's tools show of the same file. A checksum that is wrong is
// [ErrChecksum]; a file that is not sound [backend.ErrDamaged]; one in use
// [backend.ErrInUse]. Memory grows by about 20 bytes a key.
func Inspect(path string) (Status, error) {
	if err := verify(path); err != nil {
		return Status{}, err
	}
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return Status{}, fmt.Errorf("restore: open %s: %w", path, err)
	}
	var status Status
	err = db.View(func(tx *bbolt.Tx) (err error) {
		status, err = count(tx)
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return Status{}, fmt.Errorf("restore: read %s: %w", path, err)
	}
	return status, nil
}

// CheckSum reads the backup at path and compares it with the checksum at its
// end. [ErrNoChecksum], [ErrChecksum].
func CheckSum(path string) error {
	s, err := openSource(path)
	if err != nil {
		return err
	}
	intact, err := s.copyTo(io.Discard)
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	switch {
	case !s.checksum:
		return fmt.Errorf("%w: %s", ErrNoChecksum, path)
	case !intact:
		return fmt.Errorf("%w: %s", ErrChecksum, path)
	}
	return nil
}

// verify checks the checksum, if there is one, and the file's structure.
func verify(path string) error {
	if err := CheckSum(path); err != nil && !errors.Is(err, ErrNoChecksum) {
		return err
	}
	b, err := backend.OpenBoltReadOnly(path)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return b.Close()
}

// count goes through all buckets there are, known or not.
func count(tx *bbolt.Tx) (Status, error) {
	status := Status{TotalSize: tx.Size()}
	if meta := tx.Bucket([]byte(backend.Meta.String())); meta != nil {
		status.Version = string(meta.Get([]byte("storageVersion")))
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	live := liveKeys{seed: maphash.MakeSeed(), hashes: map[uint64]struct{}{}}
	err := tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
		sum.Write(name)
		isKey := string(name) == backend.Key.String()
		return bucket.ForEach(func(k, v []byte) error {
			sum.Write(k)
			sum.Write(v)
			if !isKey {
				return nil
			}
			return live.record(k, v)
		})
	})
	status.Hash, status.Revision, status.TotalKey = sum.Sum32(), live.revision, len(live.hashes)
	return status, err
}

// liveKeys counts keys by their hash: of a hundred million keys two share one
// with a chance of one in four thousand.
type liveKeys struct {
	seed     maphash.Seed
	hashes   map[uint64]struct{}
	revision int64
}

func (l *liveKeys) record(k, v []byte) error {
	rev, tombstone, err := kvcore.ParseRevision(k)
	if err != nil {
		return err
	}
	l.revision = rev.Main
	var kv mvccpb.KeyValue
	if err := proto.Unmarshal(v, &kv); err != nil {
		return fmt.Errorf("record of revision %d.%d: %w", rev.Main, rev.Sub, err)
	}
	hash := maphash.Bytes(l.seed, kv.Key)
	if tombstone {
		delete(l.hashes, hash)
	} else {
		l.hashes[hash] = struct{}{}
	}
	return nil
}
