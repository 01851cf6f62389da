// Package wal is the write-ahead log of a Raft member: its entries and its HardState,
// in append-only segment files, made durable with one write and one fdatasync a batch.
//
// # Files
//
// A segment is named by its sequence number and the index of the first entry expected in it, both
// in 16 hex digits. Sequence numbers have no gaps. A name ending in .tmp is a segment in the
// making; Open removes it.
//
//	0000000000000007-00000000000186a1.wal   sealed
//	0000000000000008-0000000000030d41.wal   active: the last one, appended to
//	0000000000000009.tmp                    zeros, made ahead in the background
//
// A segment has its full size from the start, filled with zeros by real writes, so that the
// fdatasync of an append finds allocated, written blocks and has no metadata to flush. Zeros are
// the end of the log. All numbers are little-endian.
//
//	offset 0                 4096                                    size
//	+------------------------+-------+-------+-----+-------+---------+
//	| segment header         | frame | frame | ... | frame | zeros   |
//	+------------------------+-------+-------+-----+-------+---------+
//
//	segment header, zero-padded to 4096 bytes:
//	  0  magic "coordwal"      8 bytes
//	  8  version               u32
//	 12  CRC of this header    u32   CRC32C of all 4096 bytes, this field taken as zero
//	 16  salt                  u64   random, chosen once by Create, the same in all segments
//	 24  sequence              u64
//	 32  size of the file      u64
//	 40  previous end          u64   offset at which the frames of the segment before end; 0 in the first
//	 48  next frame number     u64   counted from 1 over all segments
//	 56  before: index, term   u64 ×2   the entry, or snapshot, that the log stood at when this segment began
//	 72  HardState: term, vote, commit   u64 ×3   as it stood when this segment began
//	 96  chain                 u32   of the last frame of the segment before
//	100  length of metadata    u32
//	104  metadata
//
//	frame, zero-padded to a multiple of 8 bytes:
//	  0  magic "fram"          u32
//	  4  CRC of this header    u32   over bytes 8 to 24; starts from the CRC of salt and sequence, xor offset/8
//	  8  frame number          u64
//	 16  length of payload     u32
//	 20  chain                 u32   CRC32C, going on from the chain of the frame before, of the padded payload
//	 24  payload: records
//
//	record:
//	  0  kind                  u8    1 entry, 2 HardState, 3 snapshot
//	  1  entry type            u8
//	  2  zero                  u16
//	  4  length of data        u32
//	  8  term                  u64
//	 16  index (HardState: vote)   u64
//	 24  data                  (HardState: commit, u64)
//
// The header carries the HardState and the position before its first entry, so
// nothing of the segments before is needed and they can be deleted, oldest first.
//
// # What one crash can tear
//
// A Save is one frame, and frame n+1 is not written before the fdatasync of frame n has returned
// nil. What Save is told it need not sync is kept in memory and becomes part of the next frame; no
// un-synced frame is ever on its way to the disk beside another. A segment's header and name are
// durable before its first frame is written, and it gets a header only when the last frame of the
// segment before is durable. Therefore:
//
//   - At most the last frame of the last segment can be incomplete after a crash, and then it was never acknowledged.
//   - A frame header further on proves that everything before it was durable. So does a further segment.
//
// A frame that is not whole, with nothing of that kind after it, is a torn tail: Open zeroes it
// durably, before anything is written there again, and reports it in Recovered.TornBytes. With
// something of that kind after it, it was whole once, and Open refuses with ErrCorrupt. To judge
// this Open looks at every 8-byte boundary up to the end of the segment. A frame's header has a CRC
// of its own, so this is one pass whatever lengths the headers claim, and a header is proof even if
// its own payload is torn. The salt, sequence and offset in that CRC keep bytes that were written
// elsewhere, in another log, or into a value by a user who knows this format, from passing for a
// frame here.
//
// A frame may begin in a sector that holds the end of the one before. Such a sector is rewritten
// with the old bytes unchanged; the log relies on a crash leaving each byte of it old or new.
//
// # What is detected, and what is not
//
// Every byte up to the end of the last frame is under a CRC32C, the padding too, so damage is
// noticed except by a chance of about 2^-32. Damage to a segment header, a sealed segment's frames,
// or any frame but the last is refused. Bytes after the last frame of the active segment that are
// not zero are zeroed and counted as torn; those of a sealed segment, whose end is on record, are
// never looked at.
//
// Damage to the last frame looks like a torn write, also when that frame had been acknowledged, and
// is repaired by dropping it. So do a last frame zeroed as a whole, and the whole of the last
// segments missing. The log alone cannot tell; a store that has applied an index beyond the last
// entry can, and its owner should compare. Likewise the oldest segments missing look like released
// ones, and show as a Recovered.Snapshot beyond what the store has applied.
package wal
