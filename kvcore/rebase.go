package kvcore

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/index"
	"github.com/coordd/coordd/proto/coordpb"
)

// downgradeKey, of bucket cluster, says that etcd was to go back to an earlier release.
var downgradeKey = []byte("downgrade")

// ErrBumpTooLarge says that a revision would not be representable.
var ErrBumpTooLarge = errors.New("kvcore: the revision would be beyond what 63 bits hold")

// Origin is what a cluster begins with.
type Origin struct {
	Index, Term uint64 // the place in its log
	ConfState   *raftpb.ConfState
	Members     []*coordpb.Member

	// BumpRevision, if not 0, moves the current revision up by so much and marks
	// all before as compacted: clients that have seen later revisions than the
	// backup holds never see one go back, and their watches end.
	BumpRevision uint64
}

// Rebase makes the store of one cluster, whoever wrote it, the first state of
// another: keys with their history, leases, users, roles and alarms stay; log
// position, configuration and members are those of o, and the epoch is due. All
// is one batch. It reads every record first, one at a time, and fails where one
// cannot be read.
func Rebase(b backend.Backend, o Origin) error {
	r := b.Reader()
	if r == nil {
		return fmt.Errorf("kvcore: rebase: %w", backend.ErrClosed)
	}
	defer r.Release()
	newest, err := newestRevision(r)
	if err != nil {
		return fmt.Errorf("kvcore: rebase: %w", err)
	}
	batch := b.Begin(o.Index, o.Term)
	for _, bucket := range []backend.Bucket{backend.Members, backend.MembersRemoved} {
		r.Ascend(bucket, nil, nil, func(k, _ []byte) bool {
			batch.Delete(bucket, bytes.Clone(k))
			return true
		})
	}
	for _, m := range o.Members {
		put(batch, memberChange(m))
	}
	put(batch, confStateChange(o.ConfState))
	for _, v := range versions {
		batch.Put(v.bucket, v.key, []byte(StorageVersion))
	}
	batch.Delete(backend.Cluster, downgradeKey)
	batch.Delete(backend.Meta, forcedKey) // it names a place of the old log
	put(batch, epochDueChange(o.Index))
	if o.BumpRevision > 0 {
		if err := bump(batch, newest, o.BumpRevision); err != nil {
			return err
		}
	}
	if err := b.Commit(batch); err != nil {
		return fmt.Errorf("kvcore: rebase: %w", err)
	}
	return nil
}

func put(b *backend.Batch, c change) { b.Put(c.bucket, c.key, c.value) }

// bump marks the new revision as etcdutl does: by a record without content at
// it, and a compaction that is asked for and not done.
func bump(b *backend.Batch, newest int64, by uint64) error {
	if by > uint64(math.MaxInt64-1-newest) {
		return fmt.Errorf("%w: %d and %d", ErrBumpTooLarge, newest, by)
	}
	rev := index.Revision{Main: newest + int64(by)}
	b.Put(backend.Key, appendRevision(nil, rev, false), nil)
	put(b, compactionChange(scheduledCompactKey, rev.Main))
	return nil
}

// newestRevision reads all records, and what else a member must understand to
// start, and returns the main revision of the last record, 0 if there is none.
func newestRevision(r backend.Reader) (newest int64, err error) {
	var st loaded
	if err := st.loadCompaction(r); err != nil {
		return 0, err
	}
	if err := st.loadLeases(r); err != nil {
		return 0, err
	}
	r.Ascend(backend.Key, nil, nil, func(k, v []byte) bool {
		var rev index.Revision
		var tombstone bool
		if rev, tombstone, err = parseRevision(k); err == nil {
			newest = rev.Main
			err = decodeStored(new(mvccpb.KeyValue), v, tombstone)
		}
		return err == nil
	})
	return newest, err
}
