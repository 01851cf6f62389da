package restart

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/locksmith/slots"
	"github.com/coordd/coordd/recipes"
)

// lookAgain is how often a machine that waits looks at the group even if no slot
// has changed: whoever is ahead in the queue may have left it.
const lookAgain = 10 * time.Second

// awaitTurn returns with a slot and its record, or without one and an error.
func (c *Config) awaitTurn(ctx context.Context) (*slots.Slot, slots.Record, error) {
	w := &waiter{Config: c}
	defer w.leaveQueue()
	for ctx.Err() == nil {
		slot, record, err := w.look(ctx)
		if slot != nil {
			return slot, record, nil
		}
		if err != nil && ctx.Err() == nil {
			return nil, slots.Record{}, errors.Join(fmt.Errorf("restart: %w", err), w.leave(ctx))
		}
	}
	return nil, slots.Record{}, errors.Join(&NotItsTurnError{c.Group.Name(), w.said, ctx.Err()}, w.leave(ctx))
}

// waiter is a machine that waits for its turn.
type waiter struct {
	*Config
	session *recipes.Session // keeps the place in the queue; nil without one
	said    string           // what it waits for
	inDoubt bool             // an attempt to take a slot had no answer
}

// look tries to take a slot now and at each change, for lookAgain at most. It
// returns neither slot nor error when that is over.
func (w *waiter) look(ctx context.Context) (*slots.Slot, slots.Record, error) {
	bounded, cancel := context.WithTimeout(ctx, lookAgain)
	defer cancel()
	for s, err := range w.Group.Watch(bounded) {
		if err != nil {
			return nil, slots.Record{}, err
		}
		slot, record, err := w.take(ctx, s)
		switch {
		case err == nil:
			return slot, record, nil
		case !errors.Is(err, slots.ErrRefused):
			return nil, slots.Record{}, err
		}
		if now := whyNot(s, err); now != w.said {
			w.said = now
			w.report("waits: " + now)
		}
	}
	return nil, slots.Record{}, nil
}

// take takes a slot if it is the machine's turn, or takes over the one that a former
// restart of this unit on this machine has kept. [slots.ErrRefused] if neither.
func (w *waiter) take(ctx context.Context, s *slots.State) (*slots.Slot, slots.Record, error) {
	if kept, ok := s.Holder(w.ID); ok && !w.isOurs(kept) {
		return nil, slots.Record{}, slots.ErrRefused
	}
	want := w.want()
	if err := w.enterQueue(ctx, want); err != nil {
		return nil, slots.Record{}, err
	}
	slot, err := w.Group.AcquireInTurn(ctx, want, time.Now())
	if errors.Is(err, slots.ErrNotQueued) { // its lease had run out
		w.leaveQueue()
		return nil, slots.Record{}, slots.ErrRefused
	}
	if err != nil {
		w.inDoubt = w.inDoubt || !errors.Is(err, slots.ErrRefused)
		return nil, slots.Record{}, err
	}
	w.inDoubt = true // until its record was read
	// A machine gets the slot that it has already, whatever for.
	r, err := slot.Verify(ctx)
	if err == nil && !w.isOurs(r) || errors.Is(err, slots.ErrNotHeld) {
		return nil, slots.Record{}, slots.ErrRefused
	}
	return slot, r, err
}

// want is the record that asks for a slot.
func (c *Config) want() slots.Record {
	return slots.Record{
		ID: c.ID, Hostname: c.Hostname, Zone: c.Zone, Member: c.Member, BootID: c.BootID,
		TakenBy: takenBy, Reason: c.reason(), Since: time.Now().UTC(),
	}
}

// enterQueue takes a place in the queue, unless the machine has one. It lasts as long
// as this process, and a little longer.
func (w *waiter) enterQueue(ctx context.Context, want slots.Record) error {
	if w.session != nil && w.session.Valid() == nil {
		return nil
	}
	w.leaveQueue()
	session, err := recipes.NewSession(ctx, w.Client, nil)
	if err != nil {
		return err
	}
	w.session = session
	return w.Group.Enqueue(ctx, session.Lease(), want)
}

// leaveQueue gives up the place. One that the store cannot be told of goes with its lease.
func (w *waiter) leaveQueue() {
	if w.session != nil {
		_ = w.session.Close()
		w.session = nil
	}
}

// whyNot says for people why there is no slot. The state is older than the refusal.
func whyNot(s *slots.State, err error) string {
	if refused, ok := errors.AsType[*slots.RefusedError](err); ok {
		return refused.Why
	}
	if full, ok := errors.AsType[*slots.FullError](err); ok && len(s.Holders) == 0 && full.Held > 0 {
		return strings.Join(full.By, ", ") + " holds the slot"
	}
	return describe(s)
}

// leave gives back what an attempt that failed may have taken all the same. A slot
// that an earlier restart has kept stays kept.
func (w *waiter) leave(ctx context.Context) error {
	if !w.inDoubt {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	_, err := w.release(ctx)
	return err
}

// Release ends what a restart of the unit that was killed has left: it gives back a
// slot whose restart had not been asked for yet. Of one that was in the middle it
// cannot know how the unit is: it keeps that, notes so, and returns why. What was
// kept before stays so without a word, and nothing is done while another restart of
// the group runs on this machine.
func Release(ctx context.Context, c Config) (kept string, err error) {
	lock, err := tryLockMachine(c.LockDir, c.Group.Name())
	if errors.Is(err, errLocked) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := c.Group.Leave(ctx, c.want()); err != nil {
		return "", fmt.Errorf("restart: %w", err)
	}
	return c.release(ctx)
}

// release is Release under the machine's lock.
func (c *Config) release(ctx context.Context) (kept string, err error) {
	slot, r, err := c.Group.Find(ctx, c.ID)
	switch {
	case errors.Is(err, slots.ErrNotHeld):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("restart: %w", err)
	case !c.isOurs(r):
		return "", nil
	case r.Phase == slots.Held:
		return "", c.giveBack(ctx, slot.Release)
	case r.Failed != "":
		return "", nil
	}
	kept = fmt.Sprintf("the restart of %s was killed before the unit was known to be well", c.Unit)
	return kept, slot.Fail(ctx, kept, time.Now())
}

// describe says who has the slots and why, for those who wait.
func describe(s *slots.State) string {
	if len(s.Holders) == 0 {
		return fmt.Sprintf("the limit of %s is %d", s.Group, s.Max)
	}
	said := make([]string, len(s.Holders))
	for i, r := range s.Holders {
		said[i] = fmt.Sprintf("%s holds the slot: %s", r.Name(), cmp.Or(r.Failed, r.Note, r.Reason, "taken by hand"))
	}
	slices.Sort(said)
	return strings.Join(said, "; ")
}
