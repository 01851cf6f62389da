// Package quota bounds the size of a member's store: what would exceed it is
// refused, and the alarm NOSPACE makes all members refuse what takes space.
package quota

import (
	"context"
	"log/slog"
	"time"

	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

const (
	// DefaultBytes is etcd's default bound.
	DefaultBytes = 2 << 30
	// checkInterval is how often a member that serves no writes itself looks at
	// what the others' have made of its store: about as often as it is flushed.
	checkInterval = 500 * time.Millisecond
)

// Node is the member's share in the replication: *raftnode.Node.
type Node interface {
	Propose(ctx context.Context, req proto.Message) (proto.Message, error)
}

// Quota is the bound of one member's store. Its methods may be called
// concurrently.
type Quota struct {
	Bytes  int64 // below 0: there is no bound
	Member uint64
	Store  *kvcore.Store
	Node   Node
	Logger *slog.Logger
}

// Check refuses a request that the store has no room for with kvcore.ErrNoSpace,
// and raises the alarm then. What takes no space always passes.
func (q *Quota) Check(ctx context.Context, req proto.Message) error {
	cost := kvcore.Cost(req)
	if cost == 0 || q.allows(cost) {
		return nil
	}
	q.raise(ctx)
	return kvcore.ErrNoSpace
}

// allows says whether so many bytes more fit. What is not flushed goes into free
// pages first.
func (q *Quota) allows(bytes int) bool {
	if q.Bytes < 0 {
		return true
	}
	total, inUse := q.Store.Size()
	growth := max(0, int64(q.Store.Unflushed())-(total-inUse))
	return total+growth+int64(bytes) < q.Bytes
}

// raise raises the alarm for this member, unless it stands. Who failed to be
// refused because that failed will meet it again.
func (q *Quota) raise(ctx context.Context) {
	for _, a := range q.Store.Alarms() {
		if a.Alarm == pb.AlarmType_NOSPACE && a.MemberID == q.Member {
			return
		}
	}
	total, inUse := q.Store.Size()
	q.Logger.Warn("the store has reached its quota: compact, defragment, and lift the alarm NOSPACE",
		"bytes", total, "in_use_bytes", inUse, "quota_bytes", q.Bytes)
	alarm := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: q.Member, Alarm: pb.AlarmType_NOSPACE}
	if _, err := q.Node.Propose(ctx, alarm); err != nil && ctx.Err() == nil {
		q.Logger.Warn("raising the alarm NOSPACE failed", "error", err)
	}
}

// Run raises the alarm whenever the store has reached its bound, until ctx ends:
// the writes may all come from other members, whose bound is another.
func (q *Quota) Run(ctx context.Context) {
	if q.Bytes < 0 {
		return
	}
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if !q.allows(0) {
			q.raise(ctx)
		}
	}
}
