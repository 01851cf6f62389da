package coordpb_test

import (
	"errors"
	"testing"

	"github.com/coordd/coordd/proto/coordpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// What decodes is encoded, and decodes to the same again.
func FuzzDecodeBatch(f *testing.F) {
	data, err := coordpb.AppendBatch(nil, 1, 2, []proto.Message{
		&etcdserverpb.PutRequest{Key: []byte("k"), Value: []byte("v")},
		&coordpb.LeaseCheckpointRequest{Term: 3, Checkpoints: []*coordpb.LeaseCheckpoint{{Id: 4, RemainingTtlSeconds: 5}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		origin, sequence, idErr := coordpb.BatchID(data)
		reqs, err := coordpb.DecodeBatch(data)
		for _, err := range []error{idErr, err} {
			if err != nil && !errors.Is(err, coordpb.ErrMalformed) {
				t.Errorf("refused with %v", err)
			}
		}
		if err != nil {
			return
		}
		again, err := coordpb.AppendBatch(nil, origin, sequence, reqs)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := coordpb.DecodeBatch(again)
		if err != nil || len(decoded) != len(reqs) {
			t.Fatalf("%d requests became %d, %v", len(reqs), len(decoded), err)
		}
		for i := range reqs {
			if !proto.Equal(decoded[i], reqs[i]) {
				t.Errorf("%v became %v", reqs[i], decoded[i])
			}
		}
	})
}
