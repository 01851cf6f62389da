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
)

// awaitTurn returns with a slot and its record, or without one and an error.
func (c *Config) awaitTurn(ctx context.Context) (*slots.Slot, slots.Record, error) {
	none := slots.Record{}
	said := ""
	for s, err := range c.Group.Watch(ctx) {
		if err != nil {
			return nil, none, fmt.Errorf("restart: %w", err)
		}
		slot, record, err := c.take(ctx, s)
		switch {
		case err == nil:
			return slot, record, nil
		case ctx.Err() != nil:
			return nil, none, errors.Join(&NotItsTurnError{c.Group.Name(), said, ctx.Err()}, c.leave(ctx))
		case !errors.Is(err, slots.ErrRefused):
			return nil, none, errors.Join(fmt.Errorf("restart: %w", err), c.leave(ctx))
		}
		if now := describe(s); now != said {
			said = now
			c.report("waits: " + now)
		}
	}
	return nil, none, &NotItsTurnError{c.Group.Name(), said, ctx.Err()}
}

// take takes a slot if one is free, or takes over the one that a former restart of
// this unit on this machine has kept. [slots.ErrFull] if neither is there.
func (c *Config) take(ctx context.Context, s *slots.State) (*slots.Slot, slots.Record, error) {
	if kept, ok := s.Holder(c.ID); !ok && s.Available() == 0 || ok && !c.isOurs(kept) {
		return nil, slots.Record{}, slots.ErrFull
	}
	slot, err := c.Group.Acquire(ctx, slots.Record{
		ID: c.ID, Hostname: c.Hostname, BootID: c.BootID, TakenBy: takenBy, Reason: c.reason(), Since: time.Now().UTC(),
	})
	if err != nil {
		return nil, slots.Record{}, err
	}
	// Acquire gives a machine the slot that it has already, whatever for.
	r, err := slot.Verify(ctx)
	if err == nil && !c.isOurs(r) || errors.Is(err, slots.ErrNotHeld) {
		return nil, slots.Record{}, slots.ErrFull
	}
	return slot, r, err
}

// leave gives back what an attempt that failed may have taken all the same. A slot
// that an earlier restart has kept stays kept.
func (c *Config) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	_, err := c.release(ctx)
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
		return "", c.giveBack(ctx, slot)
	case r.Note != c.underWay():
		return "", nil
	}
	kept = fmt.Sprintf("the restart of %s was killed before the unit was known to be well", c.Unit)
	return kept, slot.SetPhase(ctx, slots.Rebooting, c.BootID, kept)
}

// describe says who has the slots and why, for those who wait.
func describe(s *slots.State) string {
	if p := s.Pause; p != nil {
		return fmt.Sprintf("%s is paused by %s: %s", s.Group, p.By, p.Reason)
	}
	if len(s.Holders) == 0 {
		return fmt.Sprintf("the limit of %s is %d", s.Group, s.Max)
	}
	said := make([]string, len(s.Holders))
	for i, r := range s.Holders {
		who, why := cmp.Or(r.Hostname, r.ID), cmp.Or(r.Note, r.Reason, "taken by hand")
		said[i] = fmt.Sprintf("%s holds the slot: %s", who, why)
	}
	slices.Sort(said)
	return strings.Join(said, "; ")
}
