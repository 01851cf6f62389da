package backend

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// A bbolt file never shrinks, and what was written into gaps lies scattered. A
// defragmentation writes a copy beside it, in order, while readers and commits go
// on, and takes the copy in the file's place:
//
//  1. copy: all that a reader sees, in small transactions, each synced
//  2. catch up: the keys that commits have changed since, with the values they
//     have in a newer reader; again, until little is left
//  3. switch, while commits wait: catch up once more, rename the copy over the
//     file, sync the directory; from here on new readers and commits use the copy
//
// A crash leaves the old file or the new one in its place, each whole and with
// all that was committed. Readers of the old file keep it until they are
// released.
const (
	defragSuffix = ".defrag"

	// copyBytes are written in one transaction of a copy: so little that the sync
	// of another file, as of a log, does not wait long for it.
	copyBytes = 256 << 10
	// hurryBytes are, where commits come faster than they can be copied like that.
	hurryBytes = 4 << 20
	// maxRecordBytes of changed keys are remembered at most. Beyond that the copy
	// catches up by comparing two readers, key by key.
	maxRecordBytes = 16 << 20
	// switchBytes of changes are few enough to let commits wait for them.
	switchBytes = 1 << 20
	// maxRounds bounds catching up with commits that come as fast as they can be
	// copied. The rest is done while they wait.
	maxRounds = 32
	// reserveBytes of the disk a copy leaves free: a commit or a log that finds it
	// full is the end of the member. The log takes up to 64 MiB ahead.
	reserveBytes = 128 << 20
)

func (b *bolt) Defragment(ctx context.Context, progress func(done, total int64)) error {
	if !b.defragmenting.TryLock() {
		return fmt.Errorf("backend: defragment %s: %w", b.path, ErrBusy)
	}
	defer b.defragmenting.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(b.closing, func() { cancel(ErrClosed) })()
	d := &defragmentation{bolt: b, ctx: ctx, progress: progress, most: copyBytes}
	if err := d.run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("backend: defragment %s: %w", b.path, err)
	}
	return nil
}

// defragmentation is one under way.
type defragmentation struct {
	*bolt
	ctx      context.Context
	progress func(done, total int64)

	copy    *bbolt.DB
	seen    *boltReader // the copy holds this, or will once pending is written
	pending []op        // of the next transaction
	bytes   int         // of pending
	most    int         // bytes of one transaction

	done, total int64
}

func (d *defragmentation) run() (err error) {
	partial := d.path + defragSuffix
	if err := removeStale(partial); err != nil {
		return err
	}
	if _, d.seen = d.recordAnew(); d.seen == nil {
		return ErrClosed
	}
	defer func() {
		d.stopRecording()
		d.seen.Release()
	}()
	d.total = d.inUse.Load()
	if d.copy, err = openDB(partial, int(d.seen.size)+d.growth); err != nil {
		return err
	}
	switched := false
	defer func() {
		if !switched {
			err = errors.Join(err, d.copy.Close(), removeStale(partial))
		}
	}()
	if err := d.copy.Update(createBuckets); err != nil {
		return err
	}
	if err := d.copyAll(); err != nil {
		return err
	}
	last := math.MaxInt
	for range maxRounds {
		behind, err := d.catchUp()
		if err != nil {
			return err
		}
		if behind <= switchBytes {
			break
		}
		if behind >= last {
			d.hurry()
		}
		last = behind
	}
	switched, err = d.replace(partial)
	return err
}

// recordAnew returns what was recorded, and a reader from which on it is recorded
// again; nil once the backend is closed.
func (b *bolt) recordAnew() (*record, *boltReader) {
	b.commit.Lock()
	defer b.commit.Unlock()
	r := b.newest.Load()
	if r == nil || !r.refs.acquire() {
		return nil, nil
	}
	recorded := b.record
	b.record = new(record)
	return recorded, r
}

// hurry makes the copy go as fast as it can, without a rest where progress takes one.
func (d *defragmentation) hurry() {
	d.most, d.progress = hurryBytes, func(int64, int64) {}
}

func (b *bolt) stopRecording() {
	b.commit.Lock()
	defer b.commit.Unlock()
	b.record = nil
}

func (d *defragmentation) copyAll() error {
	for bucket := range Bucket(buckets) {
		var err error
		d.seen.Ascend(bucket, nil, nil, func(k, v []byte) bool {
			err = d.put(bucket, k, v)
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	return d.flush()
}

// put sets a key of the copy, or deletes it if the value is nil. Key and value
// stay as they are until flush.
func (d *defragmentation) put(bucket Bucket, k, v []byte) error {
	d.pending = append(d.pending, op{bucket, k, v})
	d.bytes += len(k) + len(v)
	if d.bytes < d.most {
		return nil
	}
	return d.flush()
}

// flush makes what was put durable.
func (d *defragmentation) flush() error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if len(d.pending) == 0 {
		return nil
	}
	if err := d.checkRoom(); err != nil {
		return err
	}
	if err := d.copy.Update(func(tx *bbolt.Tx) error { return write(tx, d.pending) }); err != nil {
		return err
	}
	d.done += int64(d.bytes)
	d.progress(d.done, max(d.done, d.total))
	clear(d.pending)
	d.pending, d.bytes = d.pending[:0], 0
	return nil
}

// checkRoom fails when the copy is about to take what the disk must keep free.
func (d *defragmentation) checkRoom() error {
	var disk unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(d.path), &disk); err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < d.reserve+uint64(d.bytes) {
		return fmt.Errorf("%w: %d bytes are left, and %d have to stay free", ErrNoRoom, free, d.reserve)
	}
	return nil
}

// catchUp brings the copy to the newest state and returns how far it was behind.
func (d *defragmentation) catchUp() (bytes int, err error) {
	changed, next := d.recordAnew()
	if next == nil {
		return 0, ErrClosed
	}
	err = d.follow(changed, next)
	d.seen.Release()
	d.seen = next
	return changed.bytes, err
}

// follow makes the copy, which holds d.seen, hold next: changed says what differs.
func (d *defragmentation) follow(changed *record, next *boltReader) error {
	follow := d.compare
	if !changed.lost {
		follow = changed.each
	}
	if err := follow(next, d.put); err != nil {
		return err
	}
	return d.flush()
}

// compare calls put with every key that differs between d.seen and next, and its
// value in next.
func (d *defragmentation) compare(next *boltReader, put func(bucket Bucket, k, v []byte) error) error {
	for bucket := range Bucket(buckets) {
		before, after := d.seen.buckets[bucket].Cursor(), next.buckets[bucket].Cursor()
		k, v := before.First()
		nextK, nextV := after.First()
		for k != nil || nextK != nil {
			order := compareKeys(k, nextK)
			var err error
			switch {
			case order < 0:
				err = put(bucket, k, nil)
			case order > 0 || !bytes.Equal(v, nextV):
				err = put(bucket, nextK, nextV)
			}
			if err != nil {
				return err
			}
			if order <= 0 {
				k, v = before.Next()
			}
			if order >= 0 {
				nextK, nextV = after.Next()
			}
		}
	}
	return nil
}

// compareKeys compares two keys, of which nil, the end of a bucket, comes last.
func compareKeys(a, b []byte) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return bytes.Compare(a, b)
}

// replace catches up once more and takes the copy in the file's place. Once that
// is done, switched is true, whatever else fails.
func (d *defragmentation) replace(partial string) (switched bool, err error) {
	d.commit.Lock()
	defer d.commit.Unlock()
	last := d.newest.Load() // not closed: Close waits for us
	if d.failed != nil {
		return false, d.failed
	}
	d.hurry() // commits wait, and whom progress tells may wait for one
	if err := d.follow(d.record, last); err != nil {
		return false, err
	}
	file := newBoltFile(d.copy)
	next, err := newBoltReader(d.bolt, file)
	if err != nil {
		return false, err
	}
	if err := os.Rename(partial, d.path); err != nil {
		next.Release()
		return false, err
	}
	old := d.file
	d.file = file
	d.show(next)
	// Should the rename not last, a crash would bring back a file without what is
	// committed from now on, though whoever committed it relies on it.
	if err := syncDir(filepath.Dir(d.path)); err != nil {
		d.failed = fmt.Errorf("sync directory: %w", err)
	}
	return true, errors.Join(d.failed, old.release())
}

// record is which keys commits have changed. Their values are looked up when they
// are needed.
type record struct {
	keys  []byte // of each key: bucket (1 byte), length (4 bytes), key
	bytes int    // of changed keys and values
	lost  bool   // there were too many keys
}

func (r *record) add(changes []op) {
	for _, c := range changes {
		r.bytes += len(c.key) + len(c.value)
		if r.lost = r.lost || len(r.keys) > maxRecordBytes; r.lost {
			r.keys = nil
			continue
		}
		r.keys = append(r.keys, byte(c.bucket))
		r.keys = binary.BigEndian.AppendUint32(r.keys, uint32(len(c.key)))
		r.keys = append(r.keys, c.key...)
	}
}

// each calls put with every recorded key and its value in now.
func (r *record) each(now *boltReader, put func(bucket Bucket, k, v []byte) error) error {
	for keys := r.keys; len(keys) > 0; {
		bucket, n := Bucket(keys[0]), binary.BigEndian.Uint32(keys[1:])
		key := keys[5 : 5+n]
		keys = keys[5+n:]
		if err := put(bucket, key, now.Get(bucket, key)); err != nil {
			return err
		}
	}
	return nil
}
