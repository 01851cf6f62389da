package slots

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Watch yields the state of the group now and after each change that may let a
// machine go: a slot of any group was given back, or a policy or a pause is another
// one; newest only, a slow consumer skips states. Grants, phases and the queue wake
// nobody: thousands wait for the same slots, and each would wake all others. It
// ends when ctx does, without an error, or after one error that no repetition cures.
//
// It watches first and reads after: a watch that starts at the present misses
// nothing that happens after its creation, needs no start revision, which etcd
// would serve with a delay, and cannot be compacted away.
func (g *Group) Watch(ctx context.Context) iter.Seq2[*State, error] {
	return func(yield func(*State, error) bool) {
		t := g.newTry("watch")
		for ctx.Err() == nil {
			err := g.watchOnce(ctx, t, yield)
			if err == nil || ctx.Err() != nil {
				return
			}
			if err := t.again(ctx, err); err != nil {
				if ctx.Err() == nil {
					yield(nil, err)
				}
				return
			}
		}
	}
}

// watchOnce serves one watch until it breaks, which is an error, or until the
// consumer has enough, which is nil.
func (g *Group) watchOnce(ctx context.Context, t *try, yield func(*State, error) bool) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	var seen int64
	for resp := range g.client.Watch(ctx, g.prefix+"/slots/", clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
		if err := resp.Err(); err != nil {
			return err
		}
		// The state that was read last may be newer than this event.
		if seen != 0 && (resp.Header.Revision <= seen || !slices.ContainsFunc(resp.Events, g.makesRoom)) {
			continue
		}
		s, err := g.readState(ctx)
		if err != nil {
			return err
		}
		seen, t.pause = s.Revision, firstPause
		if !yield(s, nil) {
			return nil
		}
	}
	if err := g.client.Ctx().Err(); err != nil {
		return fmt.Errorf("the client is closed: %w", err)
	}
	// The client closes the channel without a word when its stream gave up.
	return fmt.Errorf("the watch has ended: %w", rpctypes.ErrNoLeader)
}

// makesRoom reports whether a machine may go after the event that could not before it.
func (g *Group) makesRoom(e *clientv3.Event) bool {
	return e.Type == clientv3.EventTypeDelete || !strings.HasPrefix(string(e.Kv.Key), g.allHolders())
}
