package slots

import (
	"context"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// AcquireInTurn is [Group.Acquire] for a machine that is in the queue: it also
// asks whether it is its turn, see [Rules.Turn], and leaves the queue in the
// transaction that grants the slot. [ErrNotQueued] if it is not in the queue.
// Slots that the group's dead-holder policy ends are given back on the way.
func (g *Group) AcquireInTurn(ctx context.Context, want Record, now time.Time) (*Slot, error) {
	return g.acquire(ctx, want, now, true)
}

// Acquire takes a slot for the machine want.ID, in phase Held, whoever waits. A
// machine that has one already gets that one, with its fence and record
// unchanged, even if the group is full: so a repeat after a lost answer is
// harmless. [ErrRefused], as a [*FullError] or a [*RefusedError], says why no slot
// is granted now; [Group.Watch] tells when to try again. After any other error
// it is unknown whether a slot was taken; a repeat, or Find, tells.
func (g *Group) Acquire(ctx context.Context, want Record) (*Slot, error) {
	return g.acquire(ctx, want, time.Now(), false)
}

// WouldGrant returns the error that [Group.Acquire] would refuse want with now, nil
// if it would grant a slot.
func (g *Group) WouldGrant(ctx context.Context, want Record) error {
	if err := want.Check(); err != nil {
		return err
	}
	want.Group = g.group
	return g.newTry("look for a slot of "+want.ID).until(ctx, func(*try) (done bool, err error) {
		v, err := g.view(ctx, want, false)
		if err != nil {
			return false, err
		}
		return true, v.rules().Refuses(v.holders, want)
	})
}

func (g *Group) acquire(ctx context.Context, want Record, now time.Time, inTurn bool) (slot *Slot, err error) {
	if err := want.Check(); err != nil {
		return nil, err
	}
	want.Group, want.Phase, want.PhaseSince = g.group, Held, now.UTC()
	err = g.newTry("acquire for "+want.ID).until(ctx, func(t *try) (done bool, err error) {
		v, err := g.view(ctx, want, inTurn)
		if err != nil {
			return false, err
		}
		if r, ok := HolderOf(v.own(g.group), want.ID); ok {
			slot = &Slot{g, want.ID, r.Fence}
			if v.place == 0 {
				return true, nil
			}
			return t.commit(ctx, g.client, nil, clientv3.OpDelete(g.queueKey(want)))
		}
		if inTurn && v.place == 0 {
			return true, fmt.Errorf("%s: %w", t.what, ErrNotQueued)
		}
		if refused := v.refuses(want, now, inTurn); refused != nil {
			ended, err := g.endDead(ctx, t, v, now)
			if ended || err != nil {
				return false, err // and looks again
			}
			return true, refused
		}
		fence, err := g.grant(ctx, t, v, want, now, inTurn)
		if fence != 0 {
			slot = &Slot{g, want.ID, fence}
		}
		return fence != 0, err
	})
	return slot, err
}

// view is what a grant is judged by, at one revision.
type view struct {
	cluster, group terms
	holders        []Record // of all groups
	ahead          []Record // in the queue, in its order
	more           bool     // further ones are ahead that were not read
	place          int64    // create revision of the machine's key in the queue, 0 without one
	revision       int64
}

func (v *view) rules() *Rules {
	return &Rules{Cluster: v.cluster.Policy, ClusterStanding: v.cluster.Standing, Group: v.group.Policy, Standing: v.group.Standing}
}

func (v *view) own(group string) []Record {
	return slices.DeleteFunc(slices.Clone(v.holders), func(r Record) bool { return r.Group != group })
}

func (v *view) refuses(want Record, now time.Time, inTurn bool) error {
	if !inTurn {
		return v.rules().Refuses(v.holders, want)
	}
	if err := v.rules().Turn(v.holders, v.ahead, want, now); err != nil {
		return err
	}
	if v.more {
		return &RefusedError{RefusedQueue, fmt.Sprintf("more than %d machines are ahead in the queue", len(v.ahead))}
	}
	return nil
}

// view reads in two steps what is not a matter of one transaction: the machine's
// place, which does not change, and then all else.
func (g *Group) view(ctx context.Context, want Record, inTurn bool) (*view, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	v := &view{}
	ops := append(append(g.cluster.gets(), g.gets()...), clientv3.OpGet(g.allHolders(), clientv3.WithPrefix()))
	if inTurn {
		at, err := g.client.Get(ctx, g.queueKey(want), clientv3.WithKeysOnly())
		if err != nil {
			return nil, err
		}
		if len(at.Kvs) > 0 {
			v.place = at.Kvs[0].CreateRevision
			ops = append(ops, g.getAhead(want, v.place)...)
		}
	}
	resp, err := g.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, err
	}
	v.revision = resp.Header.Revision
	return v, v.decode(g, resp.Responses)
}

// decode reads the answers of view.
func (v *view) decode(g *Group, answers []*pb.ResponseOp) (err error) {
	if v.cluster, err = g.cluster.decodeTerms(answers); err != nil {
		return err
	}
	if v.group, err = g.decodeTerms(answers[2:]); err != nil {
		return err
	}
	if v.holders, err = decodeRecords(answers[4].GetResponseRange().Kvs); err != nil {
		return err
	}
	for _, answer := range answers[5:] {
		v.ahead = append(v.ahead, decodeQueued(answer.GetResponseRange().Kvs, g.group)...)
		v.more = v.more || answer.GetResponseRange().More
	}
	slices.SortStableFunc(v.ahead, CompareInQueue)
	return nil
}

// grant writes the record under the conditions that all is as it was judged by,
// and that no holder has come since. Holders that went in between only make room.
func (g *Group) grant(ctx context.Context, t *try, v *view, want Record, now time.Time, inTurn bool) (fence int64, err error) {
	value, err := want.encode()
	if err != nil {
		return 0, err
	}
	note, err := g.noteOf(want, Granted, want.TakenBy, want.Reason, now)
	if err != nil {
		return 0, err
	}
	conditions := append(g.cluster.unchanged(v.cluster), g.unchanged(v.group)...)
	conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(g.allHolders()), "<", v.revision+1).WithPrefix())
	ops := []clientv3.Op{clientv3.OpPut(g.holderKey(want.ID), value), note}
	if inTurn {
		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(g.queueKey(want)), "=", v.place))
		ops = append(ops, clientv3.OpDelete(g.queueKey(want)))
	}
	return t.commitAt(ctx, g.client, conditions, ops...)
}
