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

// note writes an event. Its key begins with the time, so the history is in its order.
func (s *scope) note(e Event) (clientv3.Op, error) {
	e.Group = s.group
	return putJSON(fmt.Sprintf("%s%016x-%s-%s", s.historyPrefix(), e.Time.UnixNano(), e.Kind, url.QueryEscape(e.ID)), e)
}

// noteOf is the note of what happened to the machine of r.
func (s *scope) noteOf(r Record, kind Kind, by, reason string, now time.Time) (clientv3.Op, error) {
	return s.note(Event{Time: now, Kind: kind, ID: r.ID, Hostname: r.Hostname, BootID: r.BootID, By: by, Reason: reason, Fence: r.Fence})
}

// History returns the last events, oldest first, at most n of them.
func (s *scope) History(ctx context.Context, n int) (events []Event, err error) {
	if n <= 0 {
		return nil, fmt.Errorf("slots: history of %d events: at least 1 must be asked for", n)
	}
	err = s.newTry("read history").until(ctx, func(*try) (done bool, err error) {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		resp, err := s.client.Get(ctx, s.historyPrefix(), clientv3.WithPrefix(),
			clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(int64(n)))
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

// trim shortens the history to its newest events. What fails is left to the next.
func (s *scope) trim(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	counted, err := s.client.Get(ctx, s.historyPrefix(), clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || counted.Count <= keptEvents {
		return
	}
	old, err := s.client.Get(ctx, s.historyPrefix(), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(counted.Count-keptEvents))
	if err != nil || len(old.Kvs) == 0 {
		return
	}
	last := string(old.Kvs[len(old.Kvs)-1].Key)
	_, _ = s.client.Delete(ctx, s.historyPrefix(), clientv3.WithRange(last+"\x00"))
}
