package backend

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"go.etcd.io/bbolt"
)

// boltReader is a read transaction shared by everyone who reads the state of
// one commit. Lookups on a bbolt read transaction only read the mapped file
// and count cursors atomically, so they may run side by side; opening a
// bucket too, but that allocates and is done once.
type boltReader struct {
	refs        refs
	owner       *bolt
	file        *boltFile
	tx          *bbolt.Tx
	buckets     [buckets]*bbolt.Bucket // nil where a file opened for reading lacks one
	cursors     [buckets]sync.Pool     // of *bbolt.Cursor: a fresh one grows its stack at each use
	index, term uint64
	size        int64 // bytes of the file that this state spans
}

func newBoltReader(b *bolt, file *boltFile) (*boltReader, error) {
	tx, err := file.db.Begin(false)
	if err != nil {
		return nil, err
	}
	r := &boltReader{owner: b, file: file, tx: tx, size: tx.Size()}
	r.refs.n.Store(1)
	for bucket := range Bucket(buckets) {
		open := tx.Bucket([]byte(bucket.String()))
		if open == nil {
			continue
		}
		r.buckets[bucket] = open
		r.cursors[bucket].New = func() any { return open.Cursor() }
	}
	r.index, r.term = appliedOf(r)
	file.refs.acquire()
	b.unfinished.Add(1)
	return r, nil
}

func (r *boltReader) Get(bucket Bucket, key []byte) []byte {
	if r.buckets[bucket] == nil {
		return nil
	}
	c := r.cursors[bucket].Get().(*bbolt.Cursor)
	k, v := c.Seek(key)
	r.cursors[bucket].Put(c)
	if k == nil || !bytes.Equal(k, key) {
		return nil
	}
	return v
}

func (r *boltReader) Ascend(bucket Bucket, from, to []byte, f func(k, v []byte) bool) {
	if r.buckets[bucket] == nil {
		return
	}
	c := r.cursors[bucket].Get().(*bbolt.Cursor)
	defer r.cursors[bucket].Put(c)
	for k, v := c.Seek(from); k != nil; k, v = c.Next() {
		if to != nil && bytes.Compare(k, to) >= 0 || !f(k, v) {
			return
		}
	}
}

func (r *boltReader) Applied() (index, term uint64) { return r.index, r.term }

func (r *boltReader) Size() int64 { return r.size }

// WriteTo implements Reader: it writes the file as of this state.
func (r *boltReader) WriteTo(w io.Writer) (int64, error) {
	n, err := r.tx.WriteTo(w)
	if err != nil {
		return n, fmt.Errorf("backend: write store %s: %w", r.owner.path, err)
	}
	return n, nil
}

func (r *boltReader) Release() {
	if !r.refs.release() {
		return
	}
	if err := r.tx.Rollback(); err != nil {
		panic(fmt.Sprintf("backend: read transaction of %s ended before its last release: %v", r.owner.path, err))
	}
	_ = r.file.release() // the last of a file that a defragmentation has replaced: nothing depends on it
	r.owner.unfinished.Done()
}
