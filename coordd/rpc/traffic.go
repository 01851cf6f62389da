package rpc

import (
	"sync/atomic"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec
	"google.golang.org/grpc/mem"
)

// traffic counts the bytes of messages, as gRPC's own codec codes them.
type traffic struct {
	encoding.CodecV2
	received, sent atomic.Uint64
}

func newTraffic() *traffic { return &traffic{CodecV2: encoding.GetCodecV2("proto")} }

func (t *traffic) Marshal(v any) (mem.BufferSlice, error) {
	data, err := t.CodecV2.Marshal(v)
	t.sent.Add(uint64(data.Len()))
	return data, err
}

func (t *traffic) Unmarshal(data mem.BufferSlice, v any) error {
	t.received.Add(uint64(data.Len()))
	return t.CodecV2.Unmarshal(data, v)
}
