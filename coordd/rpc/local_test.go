package rpc

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A client's watch stream ends with its context, also where nobody receives any
// more: what is received last may find that its taker has gone.
func TestLocalWatchEndsWithItsContext(t *testing.T) {
	r := newRig(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := localWatch{r.server}.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a")}}}
	if err := stream.Send(create); err != nil {
		t.Fatal(err)
	}
	if got, err := stream.Recv(); err != nil || !got.Created || r.store.Watchers() != 1 {
		t.Fatalf("%v, %v, %d watchers", got, err, r.store.Watchers())
	}
	cancel()
	for r.store.Watchers() > 0 {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.Send(create); err == nil || r.store.Watchers() != 0 {
		t.Errorf("a watch after the end: %v, %d watchers", err, r.store.Watchers())
	}
}
