package backend

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The form a memory store and a delta are written in, numbers big-endian:
//
//	8 bytes  magic
//	records  bucket (1 byte), key length, value length (4 bytes each), key, value
//	1 byte   0xff
//	4 bytes  CRC-32C of all before
const (
	memoryMagic = "coordmem"
	deltaMagic  = "coorddlt"
	endOfStore  = 0xff
)

// Size implements Reader, the slow way: memory stores are small.
func (r *memoryReader) Size() int64 {
	n, err := r.WriteTo(io.Discard)
	if err != nil {
		panic(fmt.Sprintf("backend: write to nowhere: %v", err))
	}
	return n
}

// WriteTo implements Reader.
func (r *memoryReader) WriteTo(w io.Writer) (int64, error) {
	f := newFrameWriter(w, memoryMagic)
	for bucket := range Bucket(buckets) {
		f.bucket(r, bucket, nil)
	}
	if err := f.end(); err != nil {
		return f.written, fmt.Errorf("backend: write memory store: %w", err)
	}
	return f.written, nil
}

// frameWriter counts and sums what it writes, and keeps the first error.
type frameWriter struct {
	w       *bufio.Writer
	head    []byte
	written int64
	sum     uint32
	err     error
}

func newFrameWriter(w io.Writer, magic string) *frameWriter {
	f := &frameWriter{w: bufio.NewWriter(w)}
	f.write([]byte(magic))
	return f
}

// bucket writes the records of a bucket whose keys are from or above.
func (f *frameWriter) bucket(r Reader, bucket Bucket, from []byte) {
	r.Ascend(bucket, from, nil, func(k, v []byte) bool {
		head := append(f.head[:0], byte(bucket))
		head = binary.BigEndian.AppendUint32(head, uint32(len(k)))
		f.head = binary.BigEndian.AppendUint32(head, uint32(len(v)))
		f.write(f.head)
		f.write(k)
		f.write(v)
		return f.err == nil
	})
}

func (f *frameWriter) end() error {
	f.write([]byte{endOfStore})
	f.write(binary.BigEndian.AppendUint32(nil, f.sum))
	if f.err == nil {
		f.err = f.w.Flush()
	}
	return f.err
}

func (f *frameWriter) write(b []byte) {
	if f.err != nil {
		return
	}
	n, err := f.w.Write(b)
	f.written, f.err = f.written+int64(n), err
	f.sum = crc32.Update(f.sum, crc32.MakeTable(crc32.Castagnoli), b)
}

// RestoreMemory returns a store with what WriteTo of another memory store
// wrote. It fails with ErrDamaged if r does not hold exactly that.
func RestoreMemory(r io.Reader) (Backend, error) {
	b := newBatch(0, 0)
	err := readFrames(r, memoryMagic, func(bucket Bucket, key, value []byte) error {
		b.Put(bucket, key, value)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("backend: restore memory store: %w", err)
	}
	m := NewMemory()
	if err := m.Commit(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

// frameReader sums what it reads.
type frameReader struct {
	r   *bufio.Reader
	sum uint32
}

// readFrames calls record with each record in turn, and lets it keep the bytes.
func readFrames(r io.Reader, magic string, record func(bucket Bucket, key, value []byte) error) error {
	f := &frameReader{r: bufio.NewReader(r)}
	start, err := f.bytes(uint32(len(magic)))
	if err != nil {
		return err
	}
	if string(start) != magic {
		return fmt.Errorf("%w: starts with %q", ErrDamaged, start)
	}
	for {
		bucket, err := f.bytes(1)
		if err != nil {
			return err
		}
		if bucket[0] == endOfStore {
			return f.checkSum()
		}
		if bucket[0] >= buckets {
			return fmt.Errorf("%w: bucket %d", ErrDamaged, bucket[0])
		}
		key, value, err := f.pair()
		if err != nil {
			return err
		}
		if err := record(Bucket(bucket[0]), key, value); err != nil {
			return err
		}
	}
}

func (f *frameReader) pair() (key, value []byte, err error) {
	lengths, err := f.bytes(8)
	if err != nil {
		return nil, nil, err
	}
	if key, err = f.bytes(binary.BigEndian.Uint32(lengths)); err != nil {
		return nil, nil, err
	}
	value, err = f.bytes(binary.BigEndian.Uint32(lengths[4:]))
	return key, value, err
}

// bytes reads n bytes. It allocates as they come: n may be a lie.
func (f *frameReader) bytes(n uint32) ([]byte, error) {
	var buf bytes.Buffer
	if n < 64<<10 {
		buf.Grow(int(n))
	}
	if _, err := io.CopyN(&buf, f.r, int64(n)); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it ends early", ErrDamaged)
		}
		return nil, err
	}
	f.sum = crc32.Update(f.sum, crc32.MakeTable(crc32.Castagnoli), buf.Bytes())
	return buf.Bytes(), nil
}

// checkSum reads what follows the last record.
func (f *frameReader) checkSum() error {
	want := f.sum
	stored, err := f.bytes(4)
	if err != nil {
		return err
	}
	if got := binary.BigEndian.Uint32(stored); got != want {
		return fmt.Errorf("%w: checksum %08x, content has %08x", ErrDamaged, got, want)
	}
	if _, err := f.r.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: goes on after its end", ErrDamaged)
	}
	return nil
}
