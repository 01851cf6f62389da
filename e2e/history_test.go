package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// event is one change of one key, as a watch reports it.
type event struct {
	deleted    bool
	key, value string
	revision   int64
}

func eventOf(ev *clientv3.Event) event {
	return event{ev.Type == mvccpb.Event_DELETE, string(ev.Kv.Key), string(ev.Kv.Value), ev.Kv.ModRevision}
}

// ack is a write that a client was told has happened.
type ack struct {
	key, value string
	revision   int64
}

// checkAcks returns an error for an acknowledged write that the history lacks.
func checkAcks(history []event, acks []ack) error {
	puts := map[event]bool{}
	for _, ev := range history {
		puts[ev] = true
	}
	for _, a := range acks {
		if !puts[event{key: a.key, value: a.value, revision: a.revision}] {
			return fmt.Errorf("acknowledged and lost: %s = %q at revision %d", a.key, a.value, a.revision)
		}
	}
	return nil
}

// checkWatch returns an error where what a watch saw is not what happened:
// every event once, in order.
func checkWatch(history, seen []event) error {
	for i := range min(len(history), len(seen)) {
		if history[i] != seen[i] {
			return fmt.Errorf("event %d of the watch is %+v, of the history %+v", i, seen[i], history[i])
		}
	}
	if len(seen) != len(history) {
		return fmt.Errorf("the watch saw %d events of %d", len(seen), len(history))
	}
	return nil
}

// readHistory returns every event under prefix from revision 1 to last.
func readHistory(ctx context.Context, c *clientv3.Client, prefix string, last int64) ([]event, error) {
	return readHistorySince(ctx, c, prefix, 1, last)
}

// readHistorySince is readHistory from a later revision on.
func readHistorySince(ctx context.Context, c *clientv3.Client, prefix string, first, last int64) ([]event, error) {
	r := &recorder{first: first}
	err := r.follow(ctx, c, prefix, last)
	return r.take(), err
}

// recorder gathers what one watch sees.
type recorder struct {
	first int64 // the revision to begin with; 0 is 1

	mu     sync.Mutex
	events []event
}

func (r *recorder) take() []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// follow watches prefix from the first revision until everything up to revision last
// was seen (0: until ctx ends, which is then no error). last must be the
// revision of an event under prefix.
func (r *recorder) follow(ctx context.Context, c *clientv3.Client, prefix string, last int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range c.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(max(r.first, 1))) {
		if err := resp.Err(); err != nil {
			if last == 0 && ctx.Err() != nil {
				return nil
			}
			return err
		}
		r.mu.Lock()
		for _, ev := range resp.Events {
			r.events = append(r.events, eventOf(ev))
		}
		r.mu.Unlock()
		if last > 0 && len(resp.Events) > 0 && resp.Events[len(resp.Events)-1].Kv.ModRevision >= last {
			return nil
		}
	}
	if last == 0 {
		return nil
	}
	return errors.Join(errors.New("the watch ended early"), ctx.Err())
}

func TestCheckersComplain(t *testing.T) {
	history := []event{{false, "a", "1", 2}, {false, "b", "1", 3}, {true, "a", "", 4}}
	if err := checkWatch(history, history); err != nil {
		t.Errorf("a true watch: %v", err)
	}
	if err := checkAcks(history, []ack{{"a", "1", 2}, {"b", "1", 3}}); err != nil {
		t.Errorf("true acknowledgements: %v", err)
	}
	for name, seen := range map[string][]event{
		"lost event":     {history[0], history[2]},
		"lost last":      history[:2],
		"repeated event": {history[0], history[1], history[1], history[2]},
		"wrong order":    {history[1], history[0], history[2]},
		"other value":    {{false, "a", "2", 2}, history[1], history[2]},
	} {
		if checkWatch(history, seen) == nil {
			t.Errorf("%s: no complaint", name)
		}
	}
	for name, a := range map[string]ack{
		"lost write":     {"c", "1", 5},
		"other revision": {"a", "1", 3},
		"other value":    {"a", "2", 2},
	} {
		if checkAcks(history, []ack{a}) == nil {
			t.Errorf("%s: no complaint", name)
		}
	}
}
