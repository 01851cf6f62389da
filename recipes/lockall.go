package recipes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Holds are several locks that are held together.
type Holds []*Hold

// LockAll locks several mutexes, of different names, one after the other in the order of their names, whatever the order
// given: so callers of LockAll never wait for each other in a circle. If one cannot be had, those before it are unlocked.
// It takes a commit for each.
func LockAll(ctx context.Context, mutexes ...*Mutex) (Holds, error) {
	sorted := slices.Clone(mutexes)
	slices.SortFunc(sorted, func(a, b *Mutex) int { return cmp.Compare(a.path, b.path) })
	for i, m := range sorted {
		if i > 0 && m.path == sorted[i-1].path {
			return nil, fmt.Errorf("recipes: lock %s twice", m.path)
		}
	}
	var held Holds
	all := ctx // ends also when one of held does
	for _, m := range sorted {
		hold, err := m.Lock(all)
		if err == nil {
			held = append(held, hold)
			err = held.Valid() // that of another may have ended meanwhile
		}
		if err != nil {
			return nil, errors.Join(err, held.giveUp(ctx))
		}
		var stop context.CancelFunc
		all, stop = join(all, hold.Context())
		defer stop()
	}
	return held, nil
}

// giveUp unlocks for a caller that has failed, whether its context has ended or not.
func (h Holds) giveUp(ctx context.Context) error {
	if len(h) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h[0].entry.session.requestTime())
	defer cancel()
	return h.Unlock(ctx)
}

// Valid returns nil while all are owned, as Hold.Valid does, and else the first loss.
func (h Holds) Valid() error {
	for _, hold := range h {
		if err := hold.Valid(); err != nil {
			return err
		}
	}
	return nil
}

// Remaining is the shortest of Hold.Remaining, 0 of none.
func (h Holds) Remaining() (least time.Duration) {
	for i, hold := range h {
		if r := hold.Remaining(); i == 0 || r < least {
			least = r
		}
	}
	return least
}

// Guards are for Txn.If: together they are true while the store has all as owned.
func (h Holds) Guards() (all []clientv3.Cmp) {
	for _, hold := range h {
		all = append(all, hold.Guard())
	}
	return all
}

// Unlock gives all up, the last first, and joins the errors of Hold.Unlock.
func (h Holds) Unlock(ctx context.Context) (err error) {
	for _, hold := range slices.Backward(h) {
		err = errors.Join(err, hold.Unlock(ctx))
	}
	return err
}
