package kvcore

import (
	"bytes"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// A record decodes as protobuf decodes it, or not at all; one in the canonical
// form is encoded to the same bytes again.
func FuzzDecodeKeyValue(f *testing.F) {
	f.Add(appendKeyValue(nil, &mvccpb.KeyValue{Key: []byte("k"), Value: []byte("v"), CreateRevision: 2, ModRevision: 3, Version: 4, Lease: -5}))
	f.Add(appendKeyValue(nil, &mvccpb.KeyValue{Key: []byte("k")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want mvccpb.KeyValue
		err, wantErr := decodeKeyValue(&got, data), proto.Unmarshal(data, &want)
		if err != nil {
			if wantErr == nil {
				t.Errorf("%x is refused: %v", data, err)
			}
			return
		}
		encoded := appendKeyValue(nil, &got)
		if len(encoded) != sizeKeyValue(&got) {
			t.Errorf("%d bytes, not %d", len(encoded), sizeKeyValue(&got))
		}
		if wantErr != nil {
			return // protobuf is stricter with the kinds of fields
		}
		want.ProtoReflect().SetUnknown(nil)
		canonical, err := proto.MarshalOptions{Deterministic: true}.Marshal(&want)
		if err != nil || !bytes.Equal(encoded, canonical) {
			t.Errorf("%x is %v, by protobuf %v", data, &got, &want)
		}
	})
}

func FuzzParseRevision(f *testing.F) {
	f.Add(revisionKey(7))
	f.Add(append(revisionKey(7), 't'))
	f.Fuzz(func(t *testing.T, data []byte) {
		rev, tombstone, err := parseRevision(data)
		if err == nil && !bytes.Equal(appendRevision(nil, rev, tombstone), data) {
			t.Errorf("%x is %v, %t", data, rev, tombstone)
		}
	})
}
