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
		&coordpb.MemberAddRequest{Member: &coordpb.Member{Id: 1 << 63, Name: "a", PeerUrls: []string{"http://127.0.0.1:1"}}},
		&etcdserverpb.AuthRoleGrantPermissionRequest{Name: "r"},
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

func TestRequestOfAUser(t *testing.T) {
	put := &etcdserverpb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	wrapped, err := coordpb.OnBehalf("alice", 7, put)
	if err != nil {
		t.Fatal(err)
	}
	got, err := coordpb.DecodeCommand(wrapped.Command)
	if err != nil || wrapped.User != "alice" || wrapped.AuthRevision != 7 {
		t.Fatalf("decoded %v of %v, %v", got, wrapped, err)
	}
	if diff := cmp.Diff(put, got, protocmp.Transform()); diff != "" {
		t.Errorf("decoded request differs (-want +got):\n%s", diff)
	}
	for _, req := range []proto.Message{wrapped, &etcdserverpb.RangeRequest{}} {
		if _, err := coordpb.OnBehalf("alice", 7, req); !errors.Is(err, coordpb.ErrMalformed) {
			t.Errorf("OnBehalf of a %T: %v, want ErrMalformed", req, err)
		}
	}
}

// Every kind has a request, and the request is of that kind.
func TestEveryKindHasARequest(t *testing.T) {
	for number, name := range coordpb.Kind_name {
		kind := coordpb.Kind(number)
		if kind == coordpb.Kind_KIND_UNSPECIFIED {
			continue
		}
		req, err := coordpb.DecodeCommand(&coordpb.Command{Kind: kind})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if kind == coordpb.Kind_KIND_USER_REQUEST {
			continue
		}
		if wrapped, err := coordpb.OnBehalf("", 0, req); err != nil || wrapped.Command.Kind != kind {
			t.Errorf("%s: a %T is wrapped as %v, %v", name, req, wrapped.GetCommand(), err)
		}
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
