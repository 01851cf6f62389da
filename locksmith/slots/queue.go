package slots

import (
	"cmp"
	"context"
	"fmt"
	"net/url"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func (g *Group) queuePrefix() string { return g.prefix + "/queue/" + url.QueryEscape(g.group) + "/" }

// rankPrefix is what the keys of all machines begin with that differ from want in
// nothing but when they came. Ranks sort as machines go: by rising stage, in a
// stage by falling priority.
func (g *Group) rankPrefix(want Record) string {
	return fmt.Sprintf("%s%02d-%02d/", g.queuePrefix(), want.Stage, MaxPriority-want.Priority)
}

func (g *Group) queueKey(want Record) string { return g.rankPrefix(want) + url.QueryEscape(want.ID) }

// Enqueue enters the machine want.ID into the queue of those that wait for a
// slot, where it stays until [Group.AcquireInTurn] or [Group.Leave], or until the
// lease ends. One that is in the queue already keeps its place, with the new
// lease. An error of etcd says that the lease has ended.
//
// A queue has the order of stages, priorities and, within these, arrival.
func (g *Group) Enqueue(ctx context.Context, lease clientv3.LeaseID, want Record) error {
	if err := want.Check(); err != nil {
		return err
	}
	want.Group, want.Phase = g.group, Waiting
	value, err := want.encode()
	if err != nil {
		return err
	}
	return g.newTry("enqueue "+want.ID).until(ctx, func(t *try) (done bool, err error) {
		return t.commit(ctx, g.client, nil, clientv3.OpPut(g.queueKey(want), value, clientv3.WithLease(lease)))
	})
}

// Leave takes the machine out of the queue, if it is there.
func (g *Group) Leave(ctx context.Context, want Record) error {
	return g.newTry("take "+want.ID+" out of the queue").until(ctx, func(t *try) (done bool, err error) {
		return t.commit(ctx, g.client, nil, clientv3.OpDelete(g.queueKey(want)))
	})
}

// CompareInQueue is negative if a goes before b in a queue.
func CompareInQueue(a, b Record) int {
	return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Fence, b.Fence))
}

// farAhead is how many may be ahead of a machine that is granted a slot because
// zones or stages keep all of them. It bounds what a machine reads to learn
// whether it is its turn.
const farAhead = 64

// getAhead reads those of better ranks, and those of the same rank that came before.
func (g *Group) getAhead(want Record, place int64) []clientv3.Op {
	rank := g.rankPrefix(want)
	return []clientv3.Op{
		clientv3.OpGet(g.queuePrefix(), clientv3.WithRange(rank), clientv3.WithLimit(farAhead)),
		clientv3.OpGet(rank, clientv3.WithPrefix(), clientv3.WithMaxCreateRev(place-1),
			clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend), clientv3.WithLimit(farAhead)),
	}
}
