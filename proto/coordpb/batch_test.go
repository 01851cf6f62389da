package coordpb_test

import (
	"errors"
	"testing"

	"github.com/coordd/coordd/proto/coordpb"
	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestBatchRoundTrip(t *testing.T) {
	reqs := []proto.Message{
		&etcdserverpb.PutRequest{Key: []byte("k"), Value: make([]byte, 300)},
		&etcdserverpb.DeleteRangeRequest{Key: []byte("k"), RangeEnd: []byte{0}},
		&etcdserverpb.TxnRequest{},
		&etcdserverpb.CompactionRequest{Revision: 7, Physical: true},
		&etcdserverpb.LeaseGrantRequest{TTL: 5, ID: -1},
		&etcdserverpb.LeaseRevokeRequest{ID: 9},
		&coordpb.LeaseExpireRequest{Term: 3, Ids: []int64{1, -2}},
		&coordpb.Member{Id: 1 << 63, Name: "a", PeerUrls: []string{"http://127.0.0.1:1"}},
	}
	data, err := coordpb.AppendBatch(nil, 1<<63+5, 1<<40, reqs)
	if err != nil {
		t.Fatal(err)
	}
	origin, sequence, err := coordpb.BatchID(data)
	if err != nil || origin != 1<<63+5 || sequence != 1<<40 {
		t.Fatalf("BatchID = %d, %d, %v", origin, sequence, err)
	}
	got, err := coordpb.DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(reqs, got, protocmp.Transform()); diff != "" {
		t.Errorf("decoded requests differ (-want +got):\n%s", diff)
	}
	var whole coordpb.Batch
	if err := proto.Unmarshal(data, &whole); err != nil || len(whole.Commands) != len(reqs) {
		t.Errorf("the joined bytes are no Batch of %d commands: %d, %v", len(reqs), len(whole.Commands), err)
	}
}

func TestBatchRefusesWhatIsNoCommand(t *testing.T) {
	if _, err := coordpb.EncodeCommand(&etcdserverpb.RangeRequest{}); !errors.Is(err, coordpb.ErrMalformed) {
		t.Errorf("EncodeCommand of a range: %v, want ErrMalformed", err)
	}
	unknown, err := proto.Marshal(&coordpb.Batch{Commands: []*coordpb.Command{{Kind: 99}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{unknown, []byte("garbage"), {0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f}} {
		if _, err := coordpb.DecodeBatch(data); !errors.Is(err, coordpb.ErrMalformed) {
			t.Errorf("DecodeBatch(%x): %v, want ErrMalformed", data, err)
		}
	}
	if _, _, err := coordpb.BatchID(nil); !errors.Is(err, coordpb.ErrMalformed) {
		t.Errorf("BatchID of nothing: %v, want ErrMalformed", err)
	}
}
