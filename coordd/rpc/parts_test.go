package rpc

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func putOf(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
}

// Requests whose decoding would take many times their size are refused before.
func TestPartsAreCountedBeforeTheyAreDecoded(t *testing.T) {
	codec := newTraffic(128)
	emptyOps := bytes.Repeat([]byte{successField<<3 | 2, 0}, 1<<20)
	nested := protowire.AppendBytes(protowire.AppendTag(nil, opTxnField, protowire.BytesType), emptyOps)
	chain := []byte{}
	for len(chain) < unboundedBytes {
		op := protowire.AppendBytes(protowire.AppendTag(nil, opTxnField, protowire.BytesType), chain)
		chain = protowire.AppendBytes(protowire.AppendTag(nil, failureField, protowire.BytesType), op)
	}
	for name, data := range map[string][]byte{
		"compares":   bytes.Repeat([]byte{compareField<<3 | 2, 0}, 1<<20),
		"operations": emptyOps,
		"nested":     protowire.AppendBytes(protowire.AppendTag(nil, failureField, protowire.BytesType), nested),
		"deep":       bytes.Repeat(chain, 16),
	} {
		into := new(pb.TxnRequest)
		err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, into)
		if err == nil || len(into.Compare)+len(into.Success)+len(into.Failure) > 0 {
			t.Errorf("%s: %v, %d bytes were decoded", name, err, len(data))
		}
	}
}

func TestLargeTransactionsAreDecoded(t *testing.T) {
	codec := newTraffic(128)
	want := &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("a")}}}
	for range 128 {
		want.Success = append(want.Success, putOf("a", strings.Repeat("v", 8<<10)))
	}
	data, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := new(pb.TxnRequest)
	if err := codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data[:1000]), mem.SliceBuffer(data[1000:])}, got); err != nil || !proto.Equal(got, want) {
		t.Fatalf("%v; %d bytes are not decoded to what they were", err, len(data))
	}
}

// FuzzParts: whatever the bytes, they are counted, and not more than there are.
func FuzzParts(f *testing.F) {
	data, err := proto.Marshal(&pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a")}},
		Success: []*pb.RequestOp{putOf("a", ""), {Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{{}}}}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		left := parts(len(data))
		if err := left.take(data); err != nil {
			t.Fatalf("%d bytes have more parts: %v", len(data), err)
		}
		r := new(pb.TxnRequest)
		if proto.Unmarshal(data, r) == nil && len(r.Compare)+len(r.Success)+len(r.Failure) > len(data)-int(left) {
			t.Errorf("%d compares, %d and %d operations, but only %d were counted", len(r.Compare), len(r.Success), len(r.Failure), len(data)-int(left))
		}
	})
}
