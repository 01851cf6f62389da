package slots

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Slot is one possession of a slot: a holder and its fence. It holds no other
// state, and its methods may be called concurrently.
type Slot struct {
	group *Group
	id    string
	fence int64
}

// Acquire takes a slot for the machine want.ID, in phase Held. A machine that
// has one already gets that one, with its fence and record unchanged, even if the
// group is full: so a repeat after a lost answer is harmless. A [*FullError],
// which is [ErrFull], says that no slot is free; [Group.Watch] tells when to try
// again. After any other error it is unknown whether a slot was taken; a repeat,
// or Find, tells.
//
// The grant is one transaction, under the conditions that the limit is the one
// that was read and that no holder has come since. Holders that went in between
// only make room.
func (g *Group) Acquire(ctx context.Context, want Record) (*Slot, error) {
	if err := checkName("machine id", want.ID); err != nil {
		return nil, err
	}
	want.Group, want.Phase = g.name, Held
	value, err := want.encode()
	if err != nil {
		return nil, err
	}
	key := g.holderKey(want.ID)
	t := g.newTry("acquire for " + want.ID)
	for {
		s, err := g.readState(ctx)
		if err == nil {
			if r, ok := s.Holder(want.ID); ok {
				return &Slot{g, want.ID, r.Fence}, nil
			}
			if len(s.Holders) >= s.Max {
				return nil, &FullError{Held: len(s.Holders), Max: s.Max}
			}
			var fence int64
			fence, err = g.commit(ctx, []clientv3.Cmp{
				clientv3.Compare(clientv3.ModRevision(g.configKey()), "=", s.configRevision),
				clientv3.Compare(clientv3.CreateRevision(g.HoldersPrefix()), "<", s.Revision+1).WithPrefix(),
				clientv3.Compare(clientv3.CreateRevision(key), "=", 0),
			}, clientv3.OpPut(key, value))
			if fence != 0 {
				return &Slot{g, want.ID, fence}, nil
			}
		}
		if err := t.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

// Find returns the slot that the machine id holds, and its record. [ErrNotHeld].
func (g *Group) Find(ctx context.Context, id string) (*Slot, Record, error) {
	if err := checkName("machine id", id); err != nil {
		return nil, Record{}, err
	}
	t := g.newTry("find " + id)
	for {
		r, _, err := g.readHolder(ctx, id)
		if err == nil {
			return &Slot{g, id, r.Fence}, r, nil
		}
		if err := t.again(ctx, err); err != nil {
			return nil, Record{}, err
		}
	}
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

// Verify reads from the store, linearizably, whether this possession lasts, and
// returns its record. [ErrNotHeld] if not.
func (s *Slot) Verify(ctx context.Context) (Record, error) {
	t := s.group.newTry("verify " + s.id)
	for {
		r, _, err := s.read(ctx)
		if err == nil {
			return r, nil
		}
		if err := t.again(ctx, err); err != nil {
			return Record{}, err
		}
	}
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
	t := s.group.newTry(fmt.Sprintf("%s becomes %s", s.id, next))
	for {
		r, modified, err := s.read(ctx)
		if err == nil {
			if r.Phase == next && r.BootID == bootID && r.Note == note {
				return nil
			}
			if r.Phase != next && !r.Phase.CanBecome(next) {
				return fmt.Errorf("%s: %w: it is %s", t.what, ErrPhase, r.Phase)
			}
			r.Phase, r.BootID, r.Note = next, bootID, note
			var revision int64
			if revision, err = s.put(ctx, r, modified); revision != 0 {
				return nil
			}
		}
		if err := t.again(ctx, err); err != nil {
			return err
		}
	}
}

// put replaces the record if it is still this possession's and still the one
// that was read.
func (s *Slot) put(ctx context.Context, r Record, modified int64) (revision int64, err error) {
	value, err := r.encode()
	if err != nil {
		return 0, err
	}
	key := s.group.holderKey(s.id)
	return s.group.commit(ctx, []clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision(key), "=", s.fence),
		clientv3.Compare(clientv3.ModRevision(key), "=", modified),
	}, clientv3.OpPut(key, value))
}

// Release gives the slot back. [ErrNotHeld] when this possession had ended
// before; whoever holds the slot by then keeps it.
func (s *Slot) Release(ctx context.Context) error {
	key := s.group.holderKey(s.id)
	t := s.group.newTry("release " + s.id)
	for {
		_, _, err := s.read(ctx)
		if errors.Is(err, ErrNotHeld) && t.unknown {
			return nil // an earlier commit took place, its answer was lost
		}
		if err == nil {
			var revision int64
			revision, err = s.group.commit(ctx,
				[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", s.fence)},
				clientv3.OpDelete(key))
			if revision != 0 {
				return nil
			}
			t.unknown = t.unknown || err != nil
		}
		if err := t.again(ctx, err); err != nil {
			return err
		}
	}
}
