package backend

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// bbolt trusts its file: a wild page number or length crashes the process, at
// worst in a goroutine of bbolt's that nobody can recover. So the structure of
// a file is verified before bbolt walks it. The format, in native byte order:
//
//	page    id (8), flags (2), element count (2), overflow pages (4), elements, bytes
//	branch  element: offset of key from the element (4), key length (4), page id (8)
//	leaf    element: flags (4), offset of key (4), key length (4), value length (4)
//	meta    magic (4), version (4), page size (4), flags (4), root page (8),
//	        sequence (8), freelist page (8), pages (8), transaction (8), checksum (8)
//	bucket  a leaf value: root page (8), sequence (8); root 0: a leaf page follows
const (
	headerBytes  = 16
	elementBytes = 16
	bucketBytes  = 16
	metaBytes    = 64

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketLeaf   = 0x01

	noFreelist = math.MaxUint64
	maxDepth   = 64 // of pages and buckets; a page that is its own ancestor is found sooner
)

// verifyBolt returns ErrDamaged if the bbolt file at path is not sound, and
// ErrInUse if another process has it open for writing. It leaves bbolt out of it:
// that trusts a file's metas before anybody can look at them.
func verifyBolt(path string) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() // it was only read
	// bbolt's own lock; it ends with the file.
	if err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	} else if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	m, err := newestMeta(file)
	if err != nil {
		return err
	}
	v := verifier{file: file, pageBytes: m.pageBytes, pages: m.pages, seen: make([]uint64, m.pages/64+1)}
	if err := v.tree(m.root, span{}, 0); err != nil {
		return err
	}
	return v.freelist(m.freelist)
}

// verifier walks the pages of a file.
type verifier struct {
	file      *os.File
	pageBytes uint64
	pages     uint64
	seen      []uint64 // bit set of pages
	inBucket  bool     // the tree under way is a bucket's, not that of all buckets
}

// span bounds the keys a page may hold: [from, to), where nil is no bound.
type span struct{ from, to []byte }

// claim notes that a page is in use; it must not be already.
func (v *verifier) claim(id uint64) error {
	if id < 2 || id >= v.pages {
		return fmt.Errorf("%w: page %d of %d", ErrDamaged, id, v.pages)
	}
	bit := uint64(1) << (id % 64)
	if v.seen[id/64]&bit != 0 {
		return fmt.Errorf("%w: page %d is used twice", ErrDamaged, id)
	}
	v.seen[id/64] |= bit
	return nil
}

// read returns a page with its overflow, all claimed.
func (v *verifier) read(id uint64) ([]byte, error) {
	if err := v.claim(id); err != nil {
		return nil, err
	}
	page := make([]byte, v.pageBytes)
	if _, err := v.file.ReadAt(page, int64(id*v.pageBytes)); err != nil {
		return nil, err
	}
	if got := binary.NativeEndian.Uint64(page); got != id {
		return nil, fmt.Errorf("%w: page %d says it is %d", ErrDamaged, id, got)
	}
	overflow := uint64(binary.NativeEndian.Uint32(page[12:]))
	if overflow == 0 {
		return page, nil
	}
	if overflow >= v.pages-id {
		return nil, fmt.Errorf("%w: page %d goes on for %d pages, of %d", ErrDamaged, id, overflow, v.pages)
	}
	for next := id + 1; next <= id+overflow; next++ {
		if err := v.claim(next); err != nil {
			return nil, err
		}
	}
	page = make([]byte, (1+overflow)*v.pageBytes)
	_, err := v.file.ReadAt(page, int64(id*v.pageBytes))
	return page, err
}

// tree verifies the pages from id downwards.
func (v *verifier) tree(id uint64, within span, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: page %d is nested too deep", ErrDamaged, id)
	}
	page, err := v.read(id)
	if err != nil {
		return err
	}
	switch flags := binary.NativeEndian.Uint16(page[8:]); flags {
	case leafPage:
		err = v.leaf(page, within, depth)
	case branchPage:
		err = v.branch(page, within, depth)
	default:
		err = fmt.Errorf("%w: flags %#x", ErrDamaged, flags)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// elements returns the keys of a page, after checking that all lie within the
// page, in order, and within the span.
func elements(page []byte, within span, leaf bool) ([][]byte, error) {
	count := int(binary.NativeEndian.Uint16(page[10:]))
	if headerBytes+count*elementBytes > len(page) {
		return nil, fmt.Errorf("%w: %d elements in %d bytes", ErrDamaged, count, len(page))
	}
	keys := make([][]byte, count)
	for i := range count {
		body := page[headerBytes+i*elementBytes:]
		offset, keyBytes, valueBytes := element(body, leaf)
		if offset+keyBytes+valueBytes > uint64(len(body)) {
			return nil, fmt.Errorf("%w: element %d lies outside of the page", ErrDamaged, i)
		}
		keys[i] = body[offset : offset+keyBytes]
		if i == 0 && bytes.Compare(keys[i], within.from) < 0 ||
			i > 0 && bytes.Compare(keys[i], keys[i-1]) <= 0 ||
			within.to != nil && bytes.Compare(keys[i], within.to) >= 0 {
			return nil, fmt.Errorf("%w: element %d is out of order", ErrDamaged, i)
		}
	}
	return keys, nil
}

func element(body []byte, leaf bool) (offset, keyBytes, valueBytes uint64) {
	word := func(i int) uint64 { return uint64(binary.NativeEndian.Uint32(body[4*i:])) }
	if leaf {
		return word(1), word(2), word(3)
	}
	return word(0), word(1), 0
}

func (v *verifier) branch(page []byte, within span, depth int) error {
	keys, err := elements(page, within, false)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return fmt.Errorf("%w: branch without elements", ErrDamaged)
	}
	for i, key := range keys {
		below := span{from: key, to: within.to}
		if i+1 < len(keys) {
			below.to = keys[i+1]
		}
		id := binary.NativeEndian.Uint64(page[headerBytes+i*elementBytes+8:])
		if err := v.tree(id, below, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) leaf(page []byte, within span, depth int) error {
	keys, err := elements(page, within, true)
	if err != nil {
		return err
	}
	for i, key := range keys {
		body := page[headerBytes+i*elementBytes:]
		isBucket := binary.NativeEndian.Uint32(body)&bucketLeaf != 0
		switch {
		case isBucket == v.inBucket: // etcd's schema has one level of buckets, and nothing beside them
			return fmt.Errorf("%w: entry %q is at the wrong level", ErrDamaged, key)
		case !isBucket:
			continue
		}
		offset, keyBytes, valueBytes := element(body, true)
		value := body[offset+keyBytes:][:valueBytes]
		if err := v.bucket(value, depth); err != nil {
			return fmt.Errorf("bucket %q: %w", key, err)
		}
	}
	return nil
}

// bucket verifies the tree that a leaf value stands for.
func (v *verifier) bucket(value []byte, depth int) error {
	v.inBucket = true
	defer func() { v.inBucket = false }()
	if len(value) < bucketBytes {
		return fmt.Errorf("%w: header of %d bytes", ErrDamaged, len(value))
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return v.tree(root, span{}, depth+1)
	}
	page := value[bucketBytes:]
	if len(page) < headerBytes || binary.NativeEndian.Uint16(page[8:]) != leafPage || depth > maxDepth {
		return fmt.Errorf("%w: no page inside", ErrDamaged)
	}
	return v.leaf(page, span{}, depth+1)
}

// freelist verifies the list of free pages, if the file has one: no page that
// is in use may be in it.
func (v *verifier) freelist(id uint64) error {
	if id == noFreelist {
		return nil
	}
	page, err := v.read(id)
	if err != nil {
		return fmt.Errorf("freelist: %w", err)
	}
	if flags := binary.NativeEndian.Uint16(page[8:]); flags != freelistPage {
		return fmt.Errorf("%w: freelist page %d has flags %#x", ErrDamaged, id, flags)
	}
	ids := page[headerBytes:]
	count := uint64(binary.NativeEndian.Uint16(page[10:]))
	if count == math.MaxUint16 {
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids))/8 {
		return fmt.Errorf("%w: freelist of %d pages in %d bytes", ErrDamaged, count, len(ids))
	}
	for i := range count {
		if err := v.claim(binary.NativeEndian.Uint64(ids[8*i:])); err != nil {
			return fmt.Errorf("freelist: %w", err)
		}
	}
	return nil
}
