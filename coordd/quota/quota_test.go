package quota

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// alone is a cluster of one member: a proposal is applied at once.
type alone struct {
	*kvcore.Store
	alarms atomic.Int64 // proposed
}

func (a *alone) Propose(_ context.Context, req proto.Message) (proto.Message, error) {
	if _, ok := req.(*pb.AlarmRequest); ok {
		a.alarms.Add(1)
	}
	index, _ := a.Applied()
	r := a.Apply(index+1, 1, []proto.Message{req})[0]
	return r.Response, r.Err
}

func newQuota(t *testing.T, bytes int64) (*Quota, *alone) {
	t.Helper()
	store, err := kvcore.Open(backend.NewMemory(), kvcore.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	node := &alone{Store: store}
	return &Quota{Bytes: bytes, Member: 7, Store: store, Node: node, Logger: slog.New(slog.DiscardHandler)}, node
}

func TestQuotaRefusesWhatTakesSpace(t *testing.T) {
	q, node := newQuota(t, 64<<10)
	put := func(i int) *pb.PutRequest {
		return &pb.PutRequest{Key: fmt.Append(nil, i), Value: make([]byte, 1000)}
	}
	var err error
	puts := 0
	for ; err == nil && puts < 100; puts++ {
		if err = q.Check(t.Context(), put(puts)); err == nil {
			_, err = node.Propose(t.Context(), put(puts))
		}
		if puts%10 == 0 {
			if _, err := q.Store.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !errors.Is(err, kvcore.ErrNoSpace) || puts < 40 || puts > 64 {
		t.Fatalf("put %d: %v", puts, err)
	}
	if alarms := q.Store.Alarms(); len(alarms) != 1 || alarms[0].Alarm != pb.AlarmType_NOSPACE || alarms[0].MemberID != 7 {
		t.Errorf("alarms: %v", alarms)
	}
	for _, free := range []proto.Message{
		&pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, &pb.CompactionRequest{Revision: 2}, &pb.LeaseRevokeRequest{ID: 1},
		&pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a")}}}}},
	} {
		if err := q.Check(t.Context(), free); err != nil {
			t.Errorf("%T: %v", free, err)
		}
	}
	if err := q.Check(t.Context(), &pb.LeaseGrantRequest{ID: 1, TTL: 5}); err == nil && !q.allows(100) {
		t.Error("a lease was granted beyond the quota")
	}
	if n := node.alarms.Load(); n != 1 {
		t.Errorf("the alarm was proposed %d times", n)
	}
}

func TestNoQuota(t *testing.T) {
	q, _ := newQuota(t, -1)
	if err := q.Check(t.Context(), &pb.PutRequest{Key: []byte("a"), Value: make([]byte, 1<<20)}); err != nil {
		t.Error(err)
	}
}

// TestWritesOfOthersRaiseTheAlarm: a member looks at its store though nobody
// writes through it, and again after the alarm was lifted.
func TestWritesOfOthersRaiseTheAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, node := newQuota(t, 10<<10)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go q.Run(ctx)
		time.Sleep(2 * checkInterval)
		synctest.Wait()
		if node.alarms.Load() != 0 {
			t.Fatal("an alarm of an empty store")
		}
		if _, err := node.Propose(ctx, &pb.PutRequest{Key: []byte("a"), Value: make([]byte, 20<<10)}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			time.Sleep(2 * checkInterval)
			synctest.Wait()
			if len(q.Store.Alarms()) != 1 {
				t.Fatalf("alarms: %v", q.Store.Alarms())
			}
			lift := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 7, Alarm: pb.AlarmType_NOSPACE}
			if _, err := node.Propose(ctx, lift); err != nil {
				t.Fatal(err)
			}
		}
	})
}
