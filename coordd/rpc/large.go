package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that largeCodec stands before
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// largeBytes is what large answers may take while they are sent.
const largeBytes = 256 << 20

// errLarge says that an answer is large: it has to wait for its turn.
var errLarge = errors.New("rpc: large answer")

// largeAnswers bounds the memory of large answers to ranges. One is built at a
// time; it waits for room beside those that are being sent, or, larger than all the room,
// until it is alone. So they take largeBytes and the largest answer at most, or the two
// largest. Who waits is served in order, and holds nothing of the store.
//
// An answer gives its room back when its last byte has been given to the
// connection: a client that reads slowly holds up other large answers, not small ones.
type largeAnswers struct {
	turn *semaphore.Weighted // of 1: to build
	room *semaphore.Weighted // of largeBytes: to be sent
}

func newLargeAnswers() *largeAnswers {
	return &largeAnswers{turn: semaphore.NewWeighted(1), room: semaphore.NewWeighted(largeBytes)}
}

// answer calls handler, and where the answer turns out to be large calls it
// again in its turn. The result may be a *largeAnswer then.
func (l *largeAnswers) answer(ctx context.Context, req any, handler grpc.UnaryHandler) (any, error) {
	if !mayBeLarge(req) {
		return handler(ctx, req)
	}
	response, err := handler(kvcore.WithBudget(ctx, func(int) error { return errLarge }), req)
	if !errors.Is(err, errLarge) {
		return response, err
	}
	if err := l.turn.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer l.turn.Release(1)
	var bytes int64
	response, err = handler(kvcore.WithBudget(ctx, func(n int) error {
		bytes += int64(n)
		return nil
	}), req)
	if err != nil {
		return nil, err
	}
	bytes = min(bytes, largeBytes)
	if err := l.room.Acquire(ctx, bytes); err != nil {
		return nil, err
	}
	return &largeAnswer{response, sync.OnceFunc(func() { l.room.Release(bytes) })}, nil
}

// mayBeLarge tells the reads of more than a key. What a transaction that writes
// reads is not bounded: it is read as the log is applied.
func mayBeLarge(req any) bool {
	switch r := req.(type) {
	case *pb.RangeRequest:
		return len(r.RangeEnd) > 0 && !r.CountOnly
	case *pb.TxnRequest:
		return kvcore.IsReadOnly(r)
	}
	return false
}

// largeAnswer is a response that takes room until it is sent.
type largeAnswer struct {
	response any
	sent     func()
}

// largeCodec encodes as gRPC's own codec does, and lets large answers go once
// gRPC has done with their bytes.
type largeCodec struct{ encoding.CodecV2 }

func newLargeCodec() largeCodec { return largeCodec{encoding.GetCodecV2("proto")} }

func (c largeCodec) Marshal(v any) (mem.BufferSlice, error) {
	large, ok := v.(*largeAnswer)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	data, err := proto.Marshal(large.response.(proto.Message))
	if err != nil {
		large.sent()
		return nil, fmt.Errorf("rpc: encode: %w", err)
	}
	if mem.IsBelowBufferPoolingThreshold(cap(data)) {
		large.sent()
		return mem.BufferSlice{mem.SliceBuffer(data)}, nil
	}
	// When a connection breaks gRPC drops what it has not sent.
	runtime.AddCleanup(&data[0], func(sent func()) { sent() }, large.sent)
	return mem.BufferSlice{mem.NewBuffer(&data, whenFree(large.sent))}, nil
}

// whenFree is a pool of buffers that takes none back, but tells.
type whenFree func()

func (f whenFree) Get(length int) *[]byte {
	b := make([]byte, length)
	return &b
}

func (f whenFree) Put(*[]byte) { f() }
