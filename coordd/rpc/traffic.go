package rpc

import (
	"sync/atomic"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// traffic counts the bytes of messages.
type traffic struct {
	encoding.CodecV2
	received, sent atomic.Uint64
}

func newTraffic() *traffic { return &traffic{CodecV2: newLargeCodec()} }

func (t *traffic) Marshal(v any) (mem.BufferSlice, error) {
	data, err := t.CodecV2.Marshal(v)
	t.sent.Add(uint64(data.Len()))
	return data, err
}

func (t *traffic) Unmarshal(data mem.BufferSlice, v any) error {
	t.received.Add(uint64(data.Len()))
	return t.CodecV2.Unmarshal(data, v)
}
