package rpc

import (
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// traffic counts the bytes of messages, and refuses those of too many parts.
type traffic struct {
	encoding.CodecV2
	maxParts       parts
	received, sent atomic.Uint64
}

func newTraffic(maxTxnOps int) *traffic {
	return &traffic{CodecV2: newLargeCodec(), maxParts: parts(MaxParts(maxTxnOps))}
}

func (t *traffic) Marshal(v any) (mem.BufferSlice, error) {
	data, err := t.CodecV2.Marshal(v)
	t.sent.Add(uint64(data.Len()))
	return data, err
}

func (t *traffic) Unmarshal(data mem.BufferSlice, v any) error {
	t.received.Add(uint64(data.Len()))
	if _, ok := v.(*pb.TxnRequest); ok && data.Len() > unboundedBytes {
		whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer whole.Free()
		left := t.maxParts
		if err := left.take(whole.ReadOnlyData()); err != nil {
			return err
		}
	}
	return t.CodecV2.Unmarshal(data, v)
}
