package slots

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// endDead gives back the slot of a machine of the group that its policy takes for
// dead at now, and counts the failed return. ended reports that it did, or that
// somebody else has changed the record.
func (g *Group) endDead(ctx context.Context, t *try, v *view, now time.Time) (ended bool, err error) {
	for _, r := range v.own(g.group) {
		if at, ever := v.group.deadAt(r); !ever || now.Before(at) {
			continue
		}
		if v.group.DeadHolder == ReleaseIfAbsent {
			alive, err := g.exists(ctx, g.agentKey(r.ID))
			if err != nil {
				return false, err
			}
			if alive {
				continue
			}
		}
		return true, g.endOne(ctx, t, v, r, now)
	}
	return false, nil
}

func (g *Group) endOne(ctx context.Context, t *try, v *view, r Record, now time.Time) error {
	why := fmt.Sprintf("%s did not come back: %s since %s", r.Name(), r.Phase, r.PhaseSince.UTC().Format(time.RFC3339))
	standing, err := g.putStanding(v.group.Standing.fail(v.group.Policy, why, now))
	if err != nil {
		return err
	}
	note, err := g.noteOf(r, Ended, string(v.group.DeadHolder), why, now)
	if err != nil {
		return err
	}
	conditions := append(g.unchanged(v.group),
		clientv3.Compare(clientv3.CreateRevision(g.holderKey(r.ID)), "=", r.Fence),
		clientv3.Compare(clientv3.ModRevision(g.holderKey(r.ID)), "<", v.revision+1))
	if v.group.DeadHolder == ReleaseIfAbsent {
		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(g.agentKey(r.ID)), "=", 0))
	}
	_, err = t.commit(ctx, g.client, conditions, clientv3.OpDelete(g.holderKey(r.ID)), standing, note)
	return err
}
