package backend

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
)

const (
	metaMagic   = 0xED0CDAED
	metaVersion = 2

	// Bounds of a page: those within which bbolt looks for the second meta.
	minPageBytes = 1 << 10
	maxPageBytes = 16 << 20
)

var errNoMeta = fmt.Errorf("%w: it has no meta page", ErrDamaged)

// meta is what a meta page says of a file.
type meta struct {
	pageBytes, root, freelist, pages, transaction uint64
}

// newestMeta returns the meta that bbolt goes by: of the two the one of the later
// transaction, if its checksum is right, else the other. What it says is
// possible in a file of that length.
func newestMeta(file *os.File) (meta, error) {
	info, err := file.Stat()
	if err != nil {
		return meta{}, err
	}
	first, err := firstMeta(file)
	if err != nil {
		return meta{}, err
	}
	pageBytes := first.pageBytes
	if pageBytes < minPageBytes || pageBytes > maxPageBytes || pageBytes&(pageBytes-1) != 0 {
		return meta{}, fmt.Errorf("%w: pages of %d bytes", ErrDamaged, pageBytes)
	}
	var newest meta
	some := false
	for page := range uint64(2) {
		m, ok, err := readMeta(file, int64(page*pageBytes))
		if err != nil {
			return meta{}, err
		}
		if ok && (!some || m.transaction > newest.transaction) {
			newest, some = m, true
		}
	}
	switch {
	case !some:
		return meta{}, errNoMeta
	case newest.pageBytes != pageBytes:
		return meta{}, fmt.Errorf("%w: pages of %d bytes and of %d", ErrDamaged, pageBytes, newest.pageBytes)
	case newest.pages > uint64(info.Size())/pageBytes:
		return meta{}, fmt.Errorf("%w: it has %d bytes and should have %d pages of %d", ErrDamaged, info.Size(), newest.pages, pageBytes)
	case newest.transaction > math.MaxInt64: // after the last one numbers begin anew, and the file would go back
		return meta{}, fmt.Errorf("%w: transaction %d", ErrDamaged, newest.transaction)
	}
	return newest, nil
}

// firstMeta returns the meta that bbolt takes the size of pages from: that of the
// first page or, where a crash has torn it, of the second, wherever that begins.
func firstMeta(file *os.File) (meta, error) {
	m, ok, err := readMeta(file, 0)
	for at := int64(minPageBytes); !ok && err == nil && at <= maxPageBytes; at *= 2 {
		m, ok, err = readMeta(file, at)
	}
	if err == nil && !ok {
		err = errNoMeta
	}
	return m, err
}

// readMeta returns the meta of the page at an offset; it is false where there is
// none, or a torn one.
func readMeta(file *os.File, at int64) (m meta, ok bool, err error) {
	page := make([]byte, headerBytes+metaBytes)
	if _, err := file.ReadAt(page, at); errors.Is(err, io.EOF) {
		return meta{}, false, nil
	} else if err != nil {
		return meta{}, false, err
	}
	data := page[headerBytes:]
	sum := fnv.New64a()
	sum.Write(data[:metaBytes-8])
	ne := binary.NativeEndian
	if ne.Uint32(data) != metaMagic || ne.Uint32(data[4:]) != metaVersion || ne.Uint64(data[56:]) != sum.Sum64() {
		return meta{}, false, nil
	}
	return meta{
		pageBytes:   uint64(ne.Uint32(data[8:])),
		root:        ne.Uint64(data[16:]),
		freelist:    ne.Uint64(data[32:]),
		pages:       ne.Uint64(data[40:]),
		transaction: ne.Uint64(data[48:]),
	}, true, nil
}
