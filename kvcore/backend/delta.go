package backend

import (
	"fmt"
	"io"
	"iter"
)

// All yields every bucket there is.
func All() iter.Seq[Bucket] {
	return func(yield func(Bucket) bool) {
		for bucket := range Bucket(buckets) {
			if !yield(bucket) {
				return
			}
		}
	}
}

// WriteDelta writes the records of bucket Key from the given key on and the
// other buckets whole, Meta as the last. It returns the number of bytes written.
func WriteDelta(w io.Writer, r Reader, from []byte) (int64, error) {
	f := newFrameWriter(w, deltaMagic)
	f.bucket(r, Key, from)
	for bucket := range All() {
		if bucket != Key && bucket != Meta {
			f.bucket(r, bucket, nil)
		}
	}
	f.bucket(r, Meta, nil)
	if err := f.end(); err != nil {
		return f.written, fmt.Errorf("backend: write delta: %w", err)
	}
	return f.written, nil
}

// ReadDelta calls record with what WriteDelta wrote, in its order, and lets it
// keep the bytes. Whether r holds exactly a delta, or ErrDamaged, is known only
// when ReadDelta returns. It returns an error of record as it is.
func ReadDelta(r io.Reader, record func(bucket Bucket, key, value []byte) error) error {
	if err := readFrames(r, deltaMagic, record); err != nil {
		return fmt.Errorf("backend: read delta: %w", err)
	}
	return nil
}
