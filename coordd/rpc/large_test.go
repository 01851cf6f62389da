package rpc

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

// fillRange puts n keys with values of size bytes.
func (r *rig) fillRange(t *testing.T, n, size int) {
	t.Helper()
	value := string(make([]byte, size))
	var ops []clientv3.Op
	for i := range n {
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("large/%06d", i), value))
		if len(ops) == 100 || i == n-1 {
			if _, err := r.client.Txn(t.Context()).Then(ops...).Commit(); err != nil {
				t.Fatal(err)
			}
			ops = nil
		}
	}
}

var all = []clientv3.OpOption{clientv3.WithPrefix()}

// room is what is left for large answers.
func (r *rig) allRoom() bool {
	l := r.server.large
	if !l.room.TryAcquire(largeBytes) {
		return false
	}
	l.room.Release(largeBytes)
	return true
}

func TestLargeAnswers(t *testing.T) {
	r := newRig(t, nil)
	r.fillRange(t, 2000, 1000)
	var readers sync.WaitGroup
	for range 20 {
		readers.Go(func() {
			got, err := r.client.Get(t.Context(), "large/", all...)
			if err != nil || len(got.Kvs) != 2000 || got.Count != 2000 || string(got.Kvs[1999].Key) != "large/001999" || len(got.Kvs[7].Value) != 1000 {
				t.Errorf("range: %d keys, %v", len(got.Kvs), err)
			}
			txn, err := r.client.Txn(t.Context()).Then(clientv3.OpGet("large/", all...), clientv3.OpGet("large/", clientv3.WithPrefix(), clientv3.WithLimit(1))).Commit()
			if err != nil || len(txn.Responses[0].GetResponseRange().Kvs) != 2000 || len(txn.Responses[1].GetResponseRange().Kvs) != 1 {
				t.Errorf("transaction: %v, %v", txn, err)
			}
			// Large to make, small to send.
			sorted, err := r.client.Get(t.Context(), "large/", clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly(),
				clientv3.WithSort(clientv3.SortByValue, clientv3.SortDescend))
			if err != nil || len(sorted.Kvs) != 1 {
				t.Errorf("sorted: %v, %v", sorted, err)
			}
		})
	}
	readers.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	eventually(ctx, t, r.allRoom)
}

// A client that reads nothing of its answer holds up no small ones, and gives
// back what its answer took when it goes.
func TestLargeAnswerToAClientThatDoesNotRead(t *testing.T) {
	r := newRig(t, nil)
	r.fillRange(t, 2000, 1000)
	conn, err := grpc.NewClient(r.conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, pb.KV_Range_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(&pb.RangeRequest{Key: []byte("large/"), RangeEnd: []byte("large0")}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	eventually(ctx, t, func() bool { return !r.allRoom() })
	if _, err := r.client.Get(ctx, "large/", clientv3.WithPrefix(), clientv3.WithLimit(10)); err != nil {
		t.Error(err)
	}
	got := new(pb.RangeResponse)
	if err := stream.RecvMsg(got); err != nil || proto.Size(got) < 2_000_000 {
		t.Errorf("in the end came %d bytes, %v", proto.Size(got), err)
	}
	eventually(ctx, t, r.allRoom)
}

// The chunks of a stream stay small also where values become large all at once.
func TestRangeStreamOfUnevenValues(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxRequestBytes = 64 << 10 })
	r.fillRange(t, 1000, 10)
	value := string(make([]byte, 60<<10))
	for i := range 100 {
		r.put(t, fmt.Sprintf("larger/%03d", i), value)
	}
	stream, err := pb.NewKVClient(r.conn).RangeStream(t.Context(), &pb.RangeRequest{Key: []byte("l"), RangeEnd: []byte("m")})
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	for {
		part, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if size := proto.Size(part); size > 1<<20 {
			t.Errorf("a chunk of %d bytes", size)
		}
		keys += len(part.RangeResponse.Kvs)
		if part.RangeResponse.Header != nil {
			break
		}
	}
	if keys != 1100 {
		t.Errorf("%d keys came, want 1100", keys)
	}
}
