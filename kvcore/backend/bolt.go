package backend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// growthBytes is how much a file may grow while it is open. So much address
// space beyond its end is mapped: bbolt can map more only when no reader is
// open, and there is always one. A commit that would grow the file further
// fails; after a defragmentation or the next open there is room again.
const growthBytes = 1 << (30 + 8*(strconv.IntSize/64)) // 256 GiB, 1 GiB on 32 bits

// fillPercent is how full bbolt leaves pages when it splits them. Revisions
// rise: what is written is rarely inserted into later.
const fillPercent = 0.95

// bolt is a store in a bbolt file.
type bolt struct {
	path    string
	growth  int    // see growthBytes
	reserve uint64 // see reserveBytes

	commit sync.Mutex // held by Commit, Close, and a defragmentation when it starts, catches up and ends
	file   *boltFile  // guarded by commit
	failed error      // why nothing may be committed any more; guarded by commit
	record *record    // of commits, for a defragmentation; nil while there is none; guarded by commit

	defragmenting sync.Mutex      // held by Defragment as long as it runs
	closing       context.Context // ended by Close
	beginClosing  context.CancelFunc

	unfinished sync.WaitGroup             // readers not yet released
	newest     atomic.Pointer[boltReader] // nil once closed
	inUse      atomic.Int64               // bytes of pages not free
}

// boltFile is one bbolt file. The backend uses it while it is the present one,
// and each reader while it lives. The last of them closes it.
type boltFile struct {
	db   *bbolt.DB
	refs refs
}

func newBoltFile(db *bbolt.DB) *boltFile {
	f := &boltFile{db: db}
	f.refs.n.Store(1)
	return f
}

func (f *boltFile) release() error {
	if !f.refs.release() {
		return nil
	}
	return f.db.Close()
}

// OpenBolt opens the store in the file at path, and creates it, with its
// buckets, if there is no such file. It fails with ErrInUse while another
// backend, of this process or another, has it open, and with ErrDamaged if
// the structure of the file is not sound, which takes reading all of it.
//
// Two processes must not create the same store at the same time; a member
// holds a lock on its data directory for that.
func OpenBolt(path string) (Backend, error) {
	return openBolt(path, growthBytes)
}

func openBolt(path string, growth int) (*bolt, error) {
	size, err := fileSize(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := createBolt(path); err != nil {
			return nil, fmt.Errorf("backend: create %s: %w", path, err)
		}
		size, err = fileSize(path)
	}
	if err != nil {
		return nil, fmt.Errorf("backend: open: %w", err)
	}
	if err := verifyBolt(path); err != nil {
		return nil, fmt.Errorf("backend: open %s: %w", path, err)
	}
	db, err := openDB(path, int(size)+growth)
	if err != nil {
		return nil, fmt.Errorf("backend: open %s: %w", path, err)
	}
	b := newBolt(path, db, growth)
	if err := errors.Join(removeStale(path+defragSuffix), b.start()); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("backend: open %s: %w", path, err)
	}
	return b, nil
}

func newBolt(path string, db *bbolt.DB, growth int) *bolt {
	b := &bolt{path: path, growth: growth, reserve: reserveBytes, file: newBoltFile(db)}
	b.closing, b.beginClosing = context.WithCancel(context.Background())
	return b
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// openDB opens a file whose structure is verified, or creates it. Should bbolt
// find more to object to, it panics.
func openDB(path string, mapBytes int) (db *bbolt.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:         time.Nanosecond, // one attempt at the lock
		NoFreelistSync:  true,            // rebuilt when opened; saves a write a commit
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: mapBytes,
		MaxSize:         mapBytes,
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, ErrInUse
	}
	return db, err
}

// createBolt makes an empty store appear at path at once: a crash leaves
// either the whole of it or nothing there.
func createBolt(path string) error {
	partial := path + ".partial"
	if err := removeStale(partial); err != nil {
		return err
	}
	db, err := openDB(partial, 1<<20)
	if err != nil {
		return err
	}
	err = errors.Join(db.Update(createBuckets), db.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(partial, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// removeStale removes what an earlier process may have left.
func removeStale(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func createBuckets(tx *bbolt.Tx) error {
	for bucket := range Bucket(buckets) {
		if _, err := tx.CreateBucketIfNotExists([]byte(bucket.String())); err != nil {
			return fmt.Errorf("bucket %v: %w", bucket, err)
		}
	}
	return nil
}

// start publishes the first reader. A file that lacks buckets, as one written
// by a version that did not know them, gets them.
func (b *bolt) start() error {
	complete := false
	err := b.file.db.View(func(tx *bbolt.Tx) error {
		complete = true
		for bucket := range Bucket(buckets) {
			complete = complete && tx.Bucket([]byte(bucket.String())) != nil
		}
		return nil
	})
	if err == nil && !complete {
		err = b.file.db.Update(createBuckets)
	}
	if err != nil {
		return err
	}
	return b.publish()
}

// publish makes the last committed state what new readers see.
func (b *bolt) publish() error {
	next, err := newBoltReader(b, b.file)
	if err != nil {
		return err
	}
	b.show(next)
	return nil
}

// show makes next what new readers see.
func (b *bolt) show(next *boltReader) {
	db := next.file.db
	stats := db.Stats()
	b.inUse.Store(next.size - int64(stats.FreePageN+stats.PendingPageN)*int64(db.Info().PageSize))
	if last := b.newest.Swap(next); last != nil {
		last.Release()
	}
}

func (b *bolt) Begin(index, term uint64) *Batch { return newBatch(index, term) }

func (b *bolt) Commit(batch *Batch) error {
	changes, err := batch.changes()
	if err != nil {
		return fmt.Errorf("backend: commit to %s: %w", b.path, err)
	}
	b.commit.Lock()
	defer b.commit.Unlock()
	if b.newest.Load() == nil {
		return fmt.Errorf("backend: commit to %s: %w", b.path, ErrClosed)
	}
	if b.failed != nil {
		return fmt.Errorf("backend: commit to %s: %w", b.path, b.failed)
	}
	if err := b.file.db.Update(func(tx *bbolt.Tx) error { return write(tx, changes) }); err != nil {
		return fmt.Errorf("backend: commit to %s: %w", b.path, err)
	}
	if b.record != nil {
		b.record.add(changes)
	}
	if err := b.publish(); err != nil {
		return fmt.Errorf("backend: read %s after commit: %w", b.path, err)
	}
	return nil
}

func write(tx *bbolt.Tx, changes []op) error {
	var open [buckets]*bbolt.Bucket
	for _, c := range changes {
		bucket := open[c.bucket]
		if bucket == nil {
			bucket = tx.Bucket([]byte(c.bucket.String()))
			if c.bucket == Key {
				bucket.FillPercent = fillPercent
			}
			open[c.bucket] = bucket
		}
		var err error
		if c.value == nil {
			err = bucket.Delete(c.key)
		} else {
			err = bucket.Put(c.key, c.value)
		}
		if err != nil {
			return fmt.Errorf("bucket %v: %w", c.bucket, err)
		}
	}
	return nil
}

func (b *bolt) Reader() Reader {
	for {
		r := b.newest.Load()
		if r == nil {
			return nil
		}
		if r.refs.acquire() {
			return r
		}
	}
}

func (b *bolt) Applied() (index, term uint64) {
	if r := b.newest.Load(); r != nil {
		return r.Applied()
	}
	return 0, 0
}

func (b *bolt) Size() (total, inUse int64) {
	if r := b.newest.Load(); r != nil {
		return r.size, b.inUse.Load()
	}
	return 0, 0
}

func (b *bolt) Close() error {
	b.beginClosing()
	b.defragmenting.Lock()
	defer b.defragmenting.Unlock()
	b.commit.Lock()
	defer b.commit.Unlock()
	last := b.newest.Swap(nil)
	if last == nil {
		return nil // closed already
	}
	last.Release()
	b.unfinished.Wait()
	if err := b.file.release(); err != nil {
		return fmt.Errorf("backend: close %s: %w", b.path, err)
	}
	return nil
}
