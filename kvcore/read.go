package kvcore

import (
	"bytes"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/index"
)

// errStale says that the backend has moved on from the view: read again with a
// fresh one.
var errStale = errors.New("kvcore: view is stale")

// reading reads records as of a view. It takes a backend reader when it first
// needs one, and keeps it until close.
//
// A backend reader that is younger than the view holds every record the view's
// tail lacks, except those compacted since: hence errStale.
type reading struct {
	*view
	store  *Store // nil for the writer, whom no compaction overtakes
	lowest int64  // the lowest revision read at
	reader backend.Reader
}

// reading starts reads by the writer.
func (s *Store) reading() *reading { return &reading{view: s.snapshot()} }

func (r *reading) close() {
	if r.reader != nil {
		r.reader.Release()
		r.backend.release()
		r.reader = nil
	}
}

func (r *reading) open() error {
	if r.reader != nil {
		return nil
	}
	if !r.backend.acquire() {
		return errStale
	}
	reader := r.backend.Reader()
	if reader == nil {
		r.backend.release()
		return errStale
	}
	r.reader = reader
	if r.store != nil && r.store.view.Load().compact > r.lowest {
		return errStale
	}
	return nil
}

// find returns the record at rev. Its bytes are valid until close unless
// forever is true.
func (r *reading) find(rev index.Revision) (data []byte, forever bool, err error) {
	if e := r.tail.find(rev); e != nil {
		return e.data, true, nil
	}
	if err := r.open(); err != nil {
		return nil, false, err
	}
	var key [revisionBytes]byte
	data = r.reader.Get(backend.Key, appendRevision(key[:0], rev, false))
	if data == nil {
		return nil, false, fmt.Errorf("kvcore: no record at revision %d.%d", rev.Main, rev.Sub)
	}
	return data, false, nil
}

// load fills kv from the record at rev. The bytes in kv live for ever.
func (r *reading) load(kv *mvccpb.KeyValue, rev index.Revision, keysOnly bool) error {
	data, forever, err := r.find(rev)
	if err != nil {
		return err
	}
	if !forever && !keysOnly {
		data = bytes.Clone(data)
	}
	if err := decodeKeyValue(kv, data); err != nil {
		return fmt.Errorf("revision %d.%d: %w", rev.Main, rev.Sub, err)
	}
	if keysOnly {
		kv.Value = nil
		if !forever {
			kv.Key = bytes.Clone(kv.Key)
		}
	}
	return nil
}

// loadAll loads the record of each key.
func (r *reading) loadAll(keys []index.Key, keysOnly bool, b *budget) ([]*mvccpb.KeyValue, error) {
	if err := b.spend(len(keys) * recordBytes); err != nil {
		return nil, err
	}
	kvs := make([]mvccpb.KeyValue, len(keys))
	loaded := make([]*mvccpb.KeyValue, len(keys))
	for i, k := range keys {
		loaded[i] = &kvs[i]
		if err := r.load(loaded[i], k.Modified, keysOnly); err != nil {
			return nil, err
		}
		if err := b.spend(2 * (len(kvs[i].Key) + len(kvs[i].Value))); err != nil {
			return nil, err
		}
	}
	return loaded, nil
}

// read calls f with a reading of the newest view, and again with the one after
// while that turns out stale.
func (s *Store) read(lowest int64, f func(r *reading) error) error {
	for {
		v := s.view.Load()
		r := reading{view: v, store: s, lowest: lowest}
		if lowest <= 0 {
			r.lowest = v.revision
		}
		err := f(&r)
		r.close()
		if !errors.Is(err, errStale) {
			return err
		}
		if s.view.Load() == v {
			return ErrClosed
		}
	}
}
