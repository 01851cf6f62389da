package slots

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Slot is one possession of a slot: a holder and its fence. It holds no other
// state, and its methods may be called concurrently.
type Slot struct {
	group *Group
	id    string
	fence int64
}

// Find returns the slot that the machine id holds, and its record. [ErrNotHeld].
func (g *Group) Find(ctx context.Context, id string) (slot *Slot, r Record, err error) {
	if err := checkName("machine id", id); err != nil {
		return nil, Record{}, err
	}
	err = g.newTry("find "+id).until(ctx, func(*try) (done bool, err error) {
		r, _, err = g.readHolder(ctx, id)
		return err == nil, err
	})
	if err != nil {
		return nil, Record{}, err
	}
	return &Slot{g, id, r.Fence}, r, nil
}

// readHolder reads one record linearizably, with the mod revision of its key.
func (g *Group) readHolder(ctx context.Context, id string) (r Record, modified int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := g.client.Get(ctx, g.holderKey(id))
	if err != nil {
		return Record{}, 0, err
	}
	if len(resp.Kvs) == 0 {
		return Record{}, 0, ErrNotHeld
	}
	r, err = DecodeRecord(resp.Kvs[0])
	return r, resp.Kvs[0].ModRevision, err
}

// Fence is the number of this possession: the revision at which it was granted.
// Later grants have higher ones.
func (s *Slot) Fence() int64 { return s.fence }

// ID is the machine id of the holder.
func (s *Slot) ID() string { return s.id }

func (s *Slot) newTry(what string) *try { return s.group.newTry(what + " " + s.id) }

// Verify reads from the store, linearizably, whether this possession lasts, and
// returns its record. [ErrNotHeld] if not.
func (s *Slot) Verify(ctx context.Context) (r Record, err error) {
	err = s.newTry("verify").until(ctx, func(*try) (done bool, err error) {
		r, _, err = s.read(ctx)
		return err == nil, err
	})
	return r, err
}

// read is readHolder for this possession alone.
func (s *Slot) read(ctx context.Context) (Record, int64, error) {
	r, modified, err := s.group.readHolder(ctx, s.id)
	if err == nil && r.Fence != s.fence {
		return Record{}, 0, fmt.Errorf("%w: fence %d was followed by %d", ErrNotHeld, s.fence, r.Fence)
	}
	return r, modified, err
}

// SetPhase records that the holder enters a phase under a boot id, and a note for
// people, which may be empty. Recording what the record says already changes
// nothing and succeeds. [ErrNotHeld] when this possession has ended, [ErrPhase] when next may not
// follow the recorded phase.
func (s *Slot) SetPhase(ctx context.Context, next Phase, bootID, note string) error {
	return s.newTry(string(next)).until(ctx, func(t *try) (done bool, err error) {
		r, modified, err := s.read(ctx)
		if err != nil {
			return false, err
		}
		if r.Phase == next && r.BootID == bootID && r.Note == note {
			return true, nil
		}
		if r.Phase != next && !r.Phase.CanBecome(next) {
			return true, fmt.Errorf("%s: %w: it is %s", t.what, ErrPhase, r.Phase)
		}
		now := time.Now().UTC()
		var notes []clientv3.Op
		if kind, ok := told[next]; ok && r.Phase != next {
			came := r
			came.BootID = bootID
			op, err := s.group.noteOf(came, kind, "", note, now)
			if err != nil {
				return true, err
			}
			notes = append(notes, op)
		}
		if r.Phase != next {
			r.PhaseSince = now
		}
		if next == Back { // another boot: how the last one came back is no matter now
			r.Failed = ""
		}
		r.Phase, r.BootID, r.Note = next, bootID, note
		return s.put(ctx, t, r, modified, nil, notes...)
	})
}

// told are the phases whose beginning the history tells.
var told = map[Phase]Kind{Rebooting: WentDown, Back: CameBack}

// put replaces the record, under further conditions, if it is still this
// possession's and still the one that was read.
func (s *Slot) put(ctx context.Context, t *try, r Record, modified int64, conditions []clientv3.Cmp, also ...clientv3.Op) (done bool, err error) {
	value, err := r.encode()
	if err != nil {
		return true, err
	}
	key := s.group.holderKey(s.id)
	conditions = append(conditions,
		clientv3.Compare(clientv3.CreateRevision(key), "=", s.fence),
		clientv3.Compare(clientv3.ModRevision(key), "=", modified))
	return t.commit(ctx, s.group.client, conditions, append(also, clientv3.OpPut(key, value))...)
}

// Fail records that the machine did not come back well, and why. It keeps its
// slot, counts as a failed return of the group and may so pause it. A machine
// that has failed already only gets the new reason. [ErrNotHeld].
func (s *Slot) Fail(ctx context.Context, why string, now time.Time) error {
	return s.newTry("fail").until(ctx, func(t *try) (done bool, err error) {
		r, modified, err := s.read(ctx)
		if err != nil {
			return false, err
		}
		if r.Failed == why {
			return true, nil
		}
		first := r.Failed == ""
		r.Failed = why
		if !first {
			return s.put(ctx, t, r, modified, nil)
		}
		terms, err := s.group.readTerms(ctx)
		if err != nil {
			return false, err
		}
		standing, err := s.group.putStanding(terms.Standing.fail(terms.Policy, r.Name()+": "+why, now))
		if err != nil {
			return true, err
		}
		note, err := s.group.noteOf(r, Failed, "", why, now)
		if err != nil {
			return true, err
		}
		return s.put(ctx, t, r, modified, s.group.unchanged(terms), standing, note)
	})
}

// Release gives the slot back; the machine goes on as before, and the note of its
// record says why. [ErrNotHeld] when this possession had ended before; whoever
// holds the slot by then keeps it.
func (s *Slot) Release(ctx context.Context) error {
	return s.end(ctx, Released, "", "", time.Now())
}

// ReleaseReturned is Release of a machine that came back well: its group's failed
// returns are forgotten, and machines of later stages may follow.
func (s *Slot) ReleaseReturned(ctx context.Context, now time.Time) error {
	return s.end(ctx, Returned, "", "", now)
}

// Unlock is Release by an operator.
func (s *Slot) Unlock(ctx context.Context, by, reason string, now time.Time) error {
	return s.end(ctx, Unlocked, by, reason, now)
}

// end deletes the record and notes why.
func (s *Slot) end(ctx context.Context, kind Kind, by, reason string, now time.Time) error {
	err := s.newTry("release").until(ctx, func(t *try) (done bool, err error) {
		r, _, err := s.read(ctx)
		if errors.Is(err, ErrNotHeld) && t.unknown {
			return true, nil // an earlier commit took place, its answer was lost
		}
		if err != nil {
			return false, err
		}
		note, err := s.group.noteOf(r, kind, by, cmp.Or(reason, r.Note), now)
		if err != nil {
			return true, err
		}
		key := s.group.holderKey(s.id)
		conditions := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", s.fence)}
		ops := []clientv3.Op{clientv3.OpDelete(key), note}
		if r.TakenBy == TakenByAgent { // a place that a delayed Enqueue has left behind would hold up the others
			ops = append(ops, clientv3.OpDelete(s.group.queueKey(r)))
		}
		if kind == Returned {
			terms, err := s.group.readTerms(ctx)
			if err != nil {
				return false, err
			}
			standing, err := s.group.putStanding(terms.Standing.Succeed(r.Stage, now))
			if err != nil {
				return true, err
			}
			conditions, ops = append(conditions, s.group.unchanged(terms)...), append(ops, standing)
		}
		return t.commit(ctx, s.group.client, conditions, ops...)
	})
	if err == nil {
		s.group.trim(ctx)
	}
	return err
}

// RemoveDamaged is Unlock of a record that cannot be read, whatever it says. It
// does nothing to one that can be read. [ErrNotHeld].
func (g *Group) RemoveDamaged(ctx context.Context, id, by, reason string, now time.Time) error {
	if err := checkName("machine id", id); err != nil {
		return err
	}
	var removed int64 // create revision of the key that was to go
	return g.newTry("remove the record of "+id).until(ctx, func(t *try) (done bool, err error) {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		resp, err := g.client.Get(ctx, g.holderKey(id))
		if err != nil {
			return false, err
		}
		if t.unknown && (len(resp.Kvs) == 0 || resp.Kvs[0].CreateRevision != removed) {
			return true, nil // an earlier commit took place, its answer was lost
		}
		if len(resp.Kvs) == 0 {
			return true, fmt.Errorf("%s: %w", t.what, ErrNotHeld)
		}
		removed = resp.Kvs[0].CreateRevision
		if r, err := DecodeRecord(resp.Kvs[0]); err == nil {
			return true, fmt.Errorf("%s: it can be read: %s, %s", t.what, r.Name(), r.Phase)
		}
		note, err := g.noteOf(Record{ID: id, Fence: resp.Kvs[0].CreateRevision}, Unlocked, by, reason, now)
		if err != nil {
			return true, err
		}
		return t.commit(ctx, g.client,
			[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(g.holderKey(id)), "=", resp.Kvs[0].ModRevision)},
			clientv3.OpDelete(g.holderKey(id)), note)
	})
}
