package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"
)

const (
	segmentMagic = "coordwal"
	version      = 1
	headerSize   = 4096
	headerFixed  = 104
	maxMetadata  = headerSize - headerFixed

	frameMagic  = 0x6d617266 // "fram", little-endian
	frameHeader = 24
	alignment   = 8
	maxFrame    = 1 << 30 // bytes

	recordHeader = 24
)

type recordKind uint8

const (
	entryRecord recordKind = iota + 1
	stateRecord
	snapshotRecord
)

// castagnoli is constant.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is a segment's header, decoded.
type header struct {
	salt, sequence uint64
	size           int64 // of the file, in bytes
	previousEnd    int64 // bytes; 0 in the log's first segment
	number         uint64
	before         Position
	state          hardState
	chain          uint32
	metadata       []byte
}

// hardState is a raftpb.HardState that compares and copies.
type hardState struct{ term, vote, commit uint64 }

func stateOf(hs *raftpb.HardState) hardState {
	return hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}
}

func (s hardState) message() *raftpb.HardState {
	return &raftpb.HardState{Term: new(s.term), Vote: new(s.vote), Commit: new(s.commit)}
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	le := binary.LittleEndian
	copy(b, segmentMagic)
	le.PutUint32(b[8:], version)
	le.PutUint64(b[16:], h.salt)
	le.PutUint64(b[24:], h.sequence)
	le.PutUint64(b[32:], uint64(h.size))
	le.PutUint64(b[40:], uint64(h.previousEnd))
	le.PutUint64(b[48:], h.number)
	le.PutUint64(b[56:], h.before.Index)
	le.PutUint64(b[64:], h.before.Term)
	le.PutUint64(b[72:], h.state.term)
	le.PutUint64(b[80:], h.state.vote)
	le.PutUint64(b[88:], h.state.commit)
	le.PutUint32(b[96:], h.chain)
	le.PutUint32(b[100:], uint32(len(h.metadata)))
	copy(b[headerFixed:], h.metadata)
	le.PutUint32(b[12:], crc32.Checksum(b, castagnoli))
	return b
}

// decodeHeader reads a segment header from the first headerSize bytes of b. It keeps no part of b.
func decodeHeader(b []byte) (*header, error) {
	if len(b) < headerSize {
		return nil, fmt.Errorf("segment header: %d bytes, want %d", len(b), headerSize)
	}
	b = b[:headerSize]
	le := binary.LittleEndian
	if string(b[:8]) != segmentMagic {
		return nil, fmt.Errorf("segment header: magic %q, want %q", b[:8], segmentMagic)
	}
	var zero [4]byte
	sum := crc32.Checksum(b[:12], castagnoli)
	sum = crc32.Update(sum, castagnoli, zero[:])
	sum = crc32.Update(sum, castagnoli, b[16:])
	if want := le.Uint32(b[12:]); sum != want {
		return nil, fmt.Errorf("segment header: checksum %08x, want %08x", sum, want)
	}
	if v := le.Uint32(b[8:]); v != version {
		return nil, fmt.Errorf("segment header: version %d, want %d", v, version)
	}
	h := &header{
		salt:        le.Uint64(b[16:]),
		sequence:    le.Uint64(b[24:]),
		size:        int64(le.Uint64(b[32:])),
		previousEnd: int64(le.Uint64(b[40:])),
		number:      le.Uint64(b[48:]),
		before:      Position{Index: le.Uint64(b[56:]), Term: le.Uint64(b[64:])},
		state:       hardState{le.Uint64(b[72:]), le.Uint64(b[80:]), le.Uint64(b[88:])},
		chain:       le.Uint32(b[96:]),
	}
	n := le.Uint32(b[100:])
	if n > maxMetadata {
		return nil, fmt.Errorf("segment header: %d bytes of metadata, limit %d", n, maxMetadata)
	}
	h.metadata = bytes.Clone(b[headerFixed : headerFixed+n])
	return h, nil
}

// framing computes the checksums of one segment's frames.
type framing struct{ seed uint32 }

func newFraming(salt, sequence uint64) framing {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], salt)
	binary.LittleEndian.PutUint64(b[8:], sequence)
	return framing{crc32.Checksum(b[:], castagnoli)}
}

// sum is the CRC of the header of the frame at offset. The offset goes into the start value rather
// than the input, which would need a buffer of its own.
func (f framing) sum(frame []byte, offset int64) uint32 {
	return crc32.Update(f.seed^uint32(offset/alignment), castagnoli, frame[8:frameHeader])
}

// seal fills in the header of frame, whose padded payload of length bytes is in place, and returns
// the new chain.
func (f framing) seal(frame []byte, offset int64, number uint64, length int, chain uint32) uint32 {
	le := binary.LittleEndian
	chain = crc32.Update(chain, castagnoli, frame[frameHeader:])
	le.PutUint32(frame, frameMagic)
	le.PutUint64(frame[8:], number)
	le.PutUint32(frame[16:], uint32(length))
	le.PutUint32(frame[20:], chain)
	le.PutUint32(frame[4:], f.sum(frame, offset))
	return chain
}

// isHeader reports whether b, found at offset, begins with a frame header that was written there.
func (f framing) isHeader(b []byte, offset int64) bool {
	le := binary.LittleEndian
	return len(b) >= frameHeader && le.Uint32(b) == frameMagic && le.Uint32(b[4:]) == f.sum(b, offset)
}

// frame is a whole frame found in a segment.
type frame struct {
	payload []byte
	size    int64 // with header and padding
	chain   uint32
}

// parse reads the frame that begins b at offset; the error says why it is not whole.
func (f framing) parse(b []byte, offset int64, number uint64, chain uint32) (frame, error) {
	le := binary.LittleEndian
	if len(b) < frameHeader {
		return frame{}, errors.New("frame header: beyond the end of the segment")
	}
	if got := le.Uint32(b); got != frameMagic {
		return frame{}, fmt.Errorf("frame header: magic %08x, want %08x", got, frameMagic)
	}
	if !f.isHeader(b, offset) {
		return frame{}, errors.New("frame header: checksum mismatch")
	}
	if got := le.Uint64(b[8:]); got != number {
		return frame{}, fmt.Errorf("frame header: number %d, want %d", got, number)
	}
	length := int64(le.Uint32(b[16:]))
	size := frameHeader + pad(length)
	if size > int64(len(b)) {
		return frame{}, fmt.Errorf("frame: %d bytes, %d left in the segment", size, len(b))
	}
	chain = crc32.Update(chain, castagnoli, b[frameHeader:size])
	if want := le.Uint32(b[20:]); chain != want {
		return frame{}, fmt.Errorf("frame: checksum %08x, want %08x", chain, want)
	}
	return frame{payload: b[frameHeader : frameHeader+length], size: size, chain: chain}, nil
}

func pad[T int | int64](n T) T { return (n + alignment - 1) &^ (alignment - 1) }

// record is one record, decoded; data is part of the payload it was read from.
type record struct {
	kind      recordKind
	entryType uint8
	a, b      uint64 // term and index, or term and vote
	data      []byte
}

func appendRecord(dst []byte, r record) []byte {
	dst = append(dst, byte(r.kind), r.entryType, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.data)))
	dst = binary.LittleEndian.AppendUint64(dst, r.a)
	dst = binary.LittleEndian.AppendUint64(dst, r.b)
	return append(dst, r.data...)
}

func appendEntry(dst []byte, e *raftpb.Entry) []byte {
	return appendRecord(dst, record{entryRecord, uint8(e.GetType()), e.GetTerm(), e.GetIndex(), e.GetData()})
}

func appendState(dst []byte, s hardState) []byte {
	var commit [8]byte
	binary.LittleEndian.PutUint64(commit[:], s.commit)
	return appendRecord(dst, record{kind: stateRecord, a: s.term, b: s.vote, data: commit[:]})
}

func appendSnapshot(dst []byte, p Position) []byte {
	return appendRecord(dst, record{kind: snapshotRecord, a: p.Term, b: p.Index})
}

// nextRecord splits the first record off payload.
func nextRecord(payload []byte) (r record, rest []byte, err error) {
	if len(payload) < recordHeader {
		return record{}, nil, fmt.Errorf("record: %d bytes left, want at least %d", len(payload), recordHeader)
	}
	le := binary.LittleEndian
	length := le.Uint32(payload[4:])
	rest = payload[recordHeader:]
	if uint64(length) > uint64(len(rest)) {
		return record{}, nil, fmt.Errorf("record: %d bytes of data, %d left in the frame", length, len(rest))
	}
	r = record{
		kind:      recordKind(payload[0]),
		entryType: payload[1],
		a:         le.Uint64(payload[8:]),
		b:         le.Uint64(payload[16:]),
		data:      rest[:length:length],
	}
	if le.Uint16(payload[2:]) != 0 {
		return record{}, nil, errors.New("record: reserved bytes are not zero")
	}
	return r, rest[length:], nil
}
