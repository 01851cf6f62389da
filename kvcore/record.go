package kvcore

import (
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/coordd/coordd/kvcore/index"
)

// A record is one change of one key, encoded as the store keeps it: a whole
// mvccpb.KeyValue, or for a tombstone one with nothing but the key. Its bytes
// never change once written.
//
// In the backend it stands under its revision, in etcd's layout:
//
//	 8 bytes       1    8 bytes       1
//	+-------------+---+-------------+---+
//	| main rev BE | _ | sub rev  BE | t |   the last byte on tombstones only
//	+-------------+---+-------------+---+
const (
	revisionBytes  = 17
	tombstoneBytes = 18
)

// Field numbers of mvccpb.KeyValue.
const (
	fieldKey            protowire.Number = 1
	fieldCreateRevision protowire.Number = 2
	fieldModRevision    protowire.Number = 3
	fieldVersion        protowire.Number = 4
	fieldValue          protowire.Number = 5
	fieldLease          protowire.Number = 6
)

func appendRevision(dst []byte, rev index.Revision, tombstone bool) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(rev.Main))
	dst = append(dst, '_')
	dst = binary.BigEndian.AppendUint64(dst, uint64(rev.Sub))
	if tombstone {
		dst = append(dst, 't')
	}
	return dst
}

// ParseRevision reads a key of bucket key, for tools that look into a store.
func ParseRevision(b []byte) (rev index.Revision, tombstone bool, err error) {
	return parseRevision(b)
}

func parseRevision(b []byte) (rev index.Revision, tombstone bool, err error) {
	tombstone = len(b) == tombstoneBytes && b[revisionBytes] == 't'
	if len(b) != revisionBytes && !tombstone || b[8] != '_' {
		return rev, false, fmt.Errorf("kvcore: %x is not a revision", b)
	}
	rev.Main = int64(binary.BigEndian.Uint64(b))
	rev.Sub = int64(binary.BigEndian.Uint64(b[9:]))
	if rev.Main < 0 || rev.Sub < 0 {
		return rev, false, fmt.Errorf("kvcore: revision %x is negative", b)
	}
	return rev, tombstone, nil
}

// sizeKeyValue returns how many bytes appendKeyValue appends.
func sizeKeyValue(kv *mvccpb.KeyValue) int {
	size := 0
	for _, b := range [...][]byte{kv.Key, kv.Value} {
		if len(b) > 0 {
			size += 1 + protowire.SizeBytes(len(b))
		}
	}
	for _, v := range [...]int64{kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease} {
		if v != 0 {
			size += 1 + protowire.SizeVarint(uint64(v))
		}
	}
	return size
}

// appendKeyValue appends the encoding of kv, byte for byte what etcd writes:
// fields in rising order, those that are zero left out.
func appendKeyValue(dst []byte, kv *mvccpb.KeyValue) []byte {
	dst = appendBytes(dst, fieldKey, kv.Key)
	dst = appendInt(dst, fieldCreateRevision, kv.CreateRevision)
	dst = appendInt(dst, fieldModRevision, kv.ModRevision)
	dst = appendInt(dst, fieldVersion, kv.Version)
	dst = appendBytes(dst, fieldValue, kv.Value)
	return appendInt(dst, fieldLease, kv.Lease)
}

func appendBytes(dst []byte, field protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), v)
}

func appendInt(dst []byte, field protowire.Number, v int64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), uint64(v))
}

// decodeKeyValue fills kv from a record. Key and value alias data.
func decodeKeyValue(kv *mvccpb.KeyValue, data []byte) error {
	for b := data; len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return badRecord(data, n)
		}
		b = b[n:]
		switch {
		case kind == protowire.BytesType && (field == fieldKey || field == fieldValue):
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return badRecord(data, n)
			}
			if b = b[n:]; field == fieldKey {
				kv.Key = slices.Clip(v)
			} else {
				kv.Value = slices.Clip(v)
			}
		case kind == protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return badRecord(data, n)
			}
			b = b[n:]
			setInt(kv, field, int64(v))
		default:
			n := protowire.ConsumeFieldValue(field, kind, b)
			if n < 0 {
				return badRecord(data, n)
			}
			b = b[n:]
		}
	}
	return nil
}

func setInt(kv *mvccpb.KeyValue, field protowire.Number, v int64) {
	switch field {
	case fieldCreateRevision:
		kv.CreateRevision = v
	case fieldModRevision:
		kv.ModRevision = v
	case fieldVersion:
		kv.Version = v
	case fieldLease:
		kv.Lease = v
	}
}

func badRecord(data []byte, n int) error {
	return fmt.Errorf("kvcore: decode record of %d bytes: %w", len(data), protowire.ParseError(n))
}

// recordKey returns the key of a record the store has encoded itself, within
// data.
func recordKey(data []byte) []byte {
	_, _, n := protowire.ConsumeTag(data)
	key, m := protowire.ConsumeBytes(data[n:])
	if m < 0 {
		panic(fmt.Sprintf("kvcore: record %x has no key", data))
	}
	return slices.Clip(key)
}
