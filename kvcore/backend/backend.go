// Package backend keeps ordered bytes durably, in buckets, and commits them
// in atomic batches that carry the Raft index and term they stem from.
//
// There are two implementations: bbolt for members, whose file uses etcd's
// bucket schema, and memory for tests and simulations. Both pass one contract
// test. A Backend has one committer at a time; readers hold an immutable
// snapshot and never wait for a commit, nor a commit for them.
package backend

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Errors of opening and committing.
var (
	ErrInUse   = errors.New("store is in use by another process")
	ErrDamaged = errors.New("store is damaged")
	ErrClosed  = errors.New("store is closed")
	ErrBadKey  = errors.New("key is empty or too long")
	ErrBusy    = errors.New("store is being defragmented")
	ErrNoRoom  = errors.New("disk has no room for a copy of the store")
)

// MaxKeyBytes is the longest key a bucket takes. It is bbolt's limit.
const MaxKeyBytes = 32768

// Bucket names one ordered space of keys.
type Bucket uint8

// The buckets, as in etcd's schema.
const (
	Key            Bucket = iota // revision → encoded mvccpb.KeyValue
	Meta                         // applied index, term, compaction progress
	Lease                        // granted leases
	Members                      // members of the cluster
	Alarm                        // raised alarms
	Auth                         // whether authentication is on, and its revision
	AuthUsers                    // users
	AuthRoles                    // roles
	Cluster                      // cluster-wide settings
	MembersRemoved               // ids that were members once

	buckets = iota
)

var bucketNames = [buckets]string{"key", "meta", "lease", "members", "alarm", "auth", "authUsers", "authRoles", "cluster", "members_removed"}

// String returns the bucket's name in the file.
func (b Bucket) String() string {
	if int(b) >= len(bucketNames) {
		return fmt.Sprintf("Bucket(%d)", uint8(b))
	}
	return bucketNames[b]
}

// Keys of the applied index and term in bucket Meta; values are 8 bytes
// big-endian.
var (
	indexKey = []byte("consistent_index")
	termKey  = []byte("term")
)

// A Backend is a durable store. Its methods are safe for concurrent use,
// except that one goroutine at a time may call Commit.
type Backend interface {
	// Begin starts an empty batch. Commit makes index and term durable with
	// it, as the applied position; an index of 0 leaves that position alone.
	Begin(index, term uint64) *Batch

	// Commit writes the batch atomically; it is durable when Commit returns
	// nil. After an error nothing of the batch is visible, but whether the
	// disk kept it is unknown until the store is opened anew.
	Commit(b *Batch) error

	// Reader returns the store as of the last commit. It is shared and
	// reference-counted: each Reader call needs one Release. It returns nil
	// once Close has begun.
	Reader() Reader

	// Applied returns the position of the last commit that had one.
	Applied() (index, term uint64)

	// Size returns the bytes the store takes, and how many of them hold data.
	Size() (total, inUse int64)

	// Defragment gives back to the system what the store takes and does not
	// use. Readers and Commit go on beside it. It fails with ErrBusy while
	// another runs, with ErrNoRoom before it fills the disk, with ErrClosed once Close has begun, or with the context's
	// error; then the store is as before. progress is called from time to time
	// with the bytes done and what they come to in the end, roughly.
	Defragment(ctx context.Context, progress func(done, total int64)) error

	// Close ends a defragmentation and waits until every reader is released, then frees the store.
	Close() error
}

// A Reader is an immutable view of the store, safe for concurrent use. The
// bytes it hands out stay valid until Release and must not be modified.
type Reader interface {
	// Get returns the value of key, nil if absent. The value of a present key
	// is never nil.
	Get(bucket Bucket, key []byte) []byte

	// Ascend visits the keys of [from, to) in order until f returns false. A
	// nil from is the first key, a nil to the end of the bucket.
	Ascend(bucket Bucket, from, to []byte, f func(k, v []byte) bool)

	// Applied returns the position this view was committed at.
	Applied() (index, term uint64)

	// Size returns the number of bytes that WriteTo writes.
	Size() int64

	// WriteTo writes the whole view in the form the implementation opens, and
	// returns the number of bytes written.
	WriteTo(w io.Writer) (int64, error)

	// Release ends the use of the view. The last Release of an outdated view
	// frees what it held.
	Release()
}

// appliedOf decodes the position held by bucket Meta. A missing key counts
// as 0.
func appliedOf(r Reader) (index, term uint64) {
	return decodeUint64(r.Get(Meta, indexKey)), decodeUint64(r.Get(Meta, termKey))
}

func decodeUint64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
