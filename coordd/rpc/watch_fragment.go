package rpc

import (
	"iter"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// fragments splits a response by its events into parts of about limit bytes at
// most, at least one event each. All but the last are marked.
func fragments(r *pb.WatchResponse, limit int) iter.Seq[*pb.WatchResponse] {
	return func(yield func(*pb.WatchResponse) bool) {
		events := r.GetEvents()
		base := proto.Size(&pb.WatchResponse{Header: r.GetHeader(), WatchId: r.GetWatchId(), Fragment: true})
		for first := true; first || len(events) > 0; first = false {
			n := fitting(events, limit-base)
			part := &pb.WatchResponse{
				Header:   r.GetHeader(),
				WatchId:  r.GetWatchId(),
				Events:   events[:n:n],
				Fragment: n < len(events),
			}
			events = events[n:]
			if !yield(part) {
				return
			}
		}
	}
}

// fitting returns how many of the events fit into limit bytes, at least one if there are any.
func fitting(events []*mvccpb.Event, limit int) int {
	size := 0
	for i, e := range events {
		n := proto.Size(e)
		size += 1 + protowire.SizeVarint(uint64(n)) + n
		if size > limit && i > 0 {
			return i
		}
	}
	return len(events)
}
