package kvcore

import (
	"encoding/binary"
	"hash"
	"hash/crc32"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/index"
)

// Hash is a checksum of the revision log.
type Hash struct {
	Hash            uint32
	HashRevision    int64 // the log was summed up to here
	CompactRevision int64
	Revision        int64 // current then
}

// HashKV sums the revision log up to main revision rev, or the current one if
// rev is 0; below that there is nothing to sum. Of the time up to the compact revision it takes what is
// visible at rev, so that members agree whatever each has compacted physically
// or flushed. The sum is CRC32C over the bucket's name and the records with
// their keys: what etcd computes from the same history.
func (s *Store) HashKV(rev int64) (Hash, error) {
	var h Hash
	err := s.read(rev, func(r *reading) error {
		at := rev
		switch {
		case at > r.revision:
			return ErrFutureRevision
		case at == 0:
			at = r.revision
		case at > 0 && at < r.compact:
			return ErrCompacted
		}
		sum, err := r.sum(at)
		h = Hash{Hash: sum, HashRevision: at, CompactRevision: r.compact, Revision: r.revision}
		return err
	})
	return h, err
}

func (r *reading) sum(at int64) (uint32, error) {
	if err := r.open(); err != nil {
		return 0, err
	}
	// What was compacted since counts in this view, but may be gone.
	if r.store.view.Load().compact != r.compact {
		return 0, errStale
	}
	h := hasher{Hash32: crc32.New(crc32.MakeTable(crc32.Castagnoli)), reading: r, at: at}
	h.Write([]byte(backend.Key.String()))
	end := min(max(at+1, 0), r.tail.floor)
	var err error
	r.reader.Ascend(backend.Key, nil, binary.BigEndian.AppendUint64(nil, uint64(end)), func(k, v []byte) bool {
		var rev index.Revision
		var tombstone bool
		if rev, tombstone, err = parseRevision(k); err == nil {
			err = h.add(rev, tombstone, k, v)
		}
		return err == nil
	})
	if err != nil {
		return 0, err
	}
	var key [tombstoneBytes]byte
	for i := r.tail.search(index.Revision{Main: end}); i < r.tail.next; i++ {
		e := r.tail.at(i)
		if e.rev.Main > at {
			break
		}
		if err := h.add(e.rev, e.tombstone, appendRevision(key[:0], e.rev, e.tombstone), e.data); err != nil {
			return 0, err
		}
	}
	return h.Sum32(), nil
}

type hasher struct {
	hash.Hash32
	*reading
	at int64
}

func (h *hasher) add(rev index.Revision, tombstone bool, k, v []byte) error {
	if rev.Main <= h.compact {
		if tombstone {
			return nil
		}
		var kv mvccpb.KeyValue
		if err := decodeKeyValue(&kv, v); err != nil {
			return err
		}
		if now, ok := h.index.Get(kv.Key, h.at); !ok || now.Modified != rev {
			return nil
		}
	}
	h.Write(k)
	h.Write(v)
	return nil
}
