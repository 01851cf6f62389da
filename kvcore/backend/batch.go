package backend

import (
	"encoding/binary"
	"fmt"
)

// A Batch is a list of changes that become durable together. Later changes
// of a key win over earlier ones. It is not safe for concurrent use.
type Batch struct {
	index, term uint64
	ops         []op
	bytes       int
}

// op is one change; a nil value deletes the key.
type op struct {
	bucket     Bucket
	key, value []byte
}

func newBatch(index, term uint64) *Batch {
	return &Batch{index: index, term: term}
}

// Put sets key to value. Both must stay unchanged until Commit returns. A key
// is 1 to MaxKeyBytes bytes long, or Commit fails with ErrBadKey.
func (b *Batch) Put(bucket Bucket, key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	b.add(op{bucket, key, value})
}

// Delete removes key if it is there. It must stay unchanged until Commit
// returns.
func (b *Batch) Delete(bucket Bucket, key []byte) {
	b.add(op{bucket, key, nil})
}

func (b *Batch) add(o op) {
	if o.bucket >= buckets {
		panic(fmt.Sprintf("backend: change of key %q in unknown %v", o.key, o.bucket))
	}
	b.ops = append(b.ops, o)
	b.bytes += len(o.key) + len(o.value)
}

// Len returns the number of changes, without those of the applied position.
func (b *Batch) Len() int { return len(b.ops) }

// Bytes returns the size of all keys and values in the batch.
func (b *Batch) Bytes() int { return b.bytes }

// changes returns what Commit writes: the changes and, if the batch has a
// position, those that record it.
func (b *Batch) changes() ([]op, error) {
	for _, o := range b.ops {
		if len(o.key) == 0 || len(o.key) > MaxKeyBytes {
			return nil, fmt.Errorf("%w: %d bytes in bucket %v", ErrBadKey, len(o.key), o.bucket)
		}
	}
	if b.index == 0 {
		return b.ops, nil
	}
	return append(b.ops,
		op{Meta, indexKey, binary.BigEndian.AppendUint64(nil, b.index)},
		op{Meta, termKey, binary.BigEndian.AppendUint64(nil, b.term)},
	), nil
}
