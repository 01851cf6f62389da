package slots

import (
	"context"
	"fmt"
	"net/url"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Kind is what an [Event] tells.
type Kind string

const (
	Granted  Kind = "granted"   // a slot was granted
	WentDown Kind = "rebooting" // its machine is about to reboot
	CameBack Kind = "back"      // its machine runs under another boot id
	Failed   Kind = "failed"    // it did not come back well; the slot is kept
	Returned Kind = "returned"  // it came back well and gave the slot back
	Released Kind = "released"  // the machine gave the slot back without a reboot
	Ended    Kind = "ended"     // its dead-holder policy gave it back
	Unlocked Kind = "unlocked"  // an operator gave it back
	Paused   Kind = "paused"
	Resumed  Kind = "resumed"
)

// Event is one line of the history of a group. It is written in the transaction
// that it tells of.
type Event struct {
	Time     time.Time `json:"time"` // by the writer's clock
	Group    string    `json:"group,omitempty"`
	Kind     Kind      `json:"event"`
	ID       string    `json:"id,omitempty"`
	Hostname string    `json:"hostname,omitempty"`
	BootID   string    `json:"boot_id,omitempty"`
	By       string    `json:"by,omitempty"` // who did it, if not the machine
	Reason   string    `json:"reason,omitempty"`
	Fence    int64     `json:"fence,omitempty"` // 0 for a grant: Revision is the fence then

	// Revision is that of the transaction. It is no part of the stored value.
	Revision int64 `json:"revision"`
}

const (
	// keptEvents is how many a group's history has after a slot was given back.
	keptEvents = 1000
	// clusterHistory stands for the group in the keys of events of all groups
	// together. No group's escaped name has this form.
	clusterHistory = "%cluster"
)

func (s *scope) historyPrefix() string {
	name := clusterHistory
	if s.group != "" {
		name = url.QueryEscape(s.group)
	}
	return s.prefix + "/history/" + name + "/"
}

// note writes an event. The time in its key is the writer's; the order of the
// history is that of the store.
func (s *scope) note(e Event) (clientv3.Op, error) {
	e.Group = s.group
	return putJSON(fmt.Sprintf("%s%016x-%s-%s", s.historyPrefix(), e.Time.UnixNano(), e.Kind, url.QueryEscape(e.ID)), e)
}

// noteOf is the note of what happened to the machine of r.
func (s *scope) noteOf(r Record, kind Kind, by, reason string, now time.Time) (clientv3.Op, error) {
	return s.note(Event{Time: now, Kind: kind, ID: r.ID, Hostname: r.Hostname, BootID: r.BootID, By: by, Reason: reason, Fence: r.Fence})
}

// History returns the last events, oldest first, at most n of them. They are in the
// order in which they happened, whatever the clocks of the machines say.
func (s *scope) History(ctx context.Context, n int) (events []Event, err error) {
	if n <= 0 {
		return nil, fmt.Errorf("slots: history of %d events: at least 1 must be asked for", n)
	}
	err = s.newTry("read history").until(ctx, func(*try) (done bool, err error) {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		resp, err := s.client.Get(ctx, s.historyPrefix(), clientv3.WithPrefix(),
			clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend), clientv3.WithLimit(int64(n)))
		if err != nil {
			return false, err
		}
		events = make([]Event, len(resp.Kvs))
		for i, kv := range resp.Kvs {
			e := &events[len(events)-1-i]
			if err := decodeJSON(kv, e); err != nil {
				return true, err
			}
			e.Revision = kv.ModRevision
		}
		return true, nil
	})
	return events, err
}

// trimmed is how many events one trim removes at most: a transaction of etcd has
// room for 128 operations.
const trimmed = 100

// trim shortens the history to its newest events. What fails is left to the next.
func (s *scope) trim(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	counted, err := s.client.Get(ctx, s.historyPrefix(), clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || counted.Count <= keptEvents {
		return
	}
	old, err := s.client.Get(ctx, s.historyPrefix(), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend), clientv3.WithLimit(min(trimmed, counted.Count-keptEvents)))
	if err != nil {
		return
	}
	var ops []clientv3.Op
	for _, kv := range old.Kvs {
		ops = append(ops, clientv3.OpDelete(string(kv.Key)))
	}
	_, _ = s.client.Txn(ctx).Then(ops...).Commit()
}
