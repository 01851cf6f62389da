package raftnode

import (
	"context"
	"time"
)

// Times are where the time of one request went: one that proposes and reads
// several times adds up. What is not in them was spent outside of the node.
type Times struct {
	Queue     time.Duration // waiting for a leader, and for the entries before
	Replicate time.Duration // from the proposal until a quorum has it in its logs and its turn to be applied comes
	Apply     time.Duration // of the whole log entry, which others may share
	ReadIndex time.Duration // proving that what is read is not stale
	Unsettled time.Duration // for a proposal whose outcome the request did not wait for
}

type timesKey struct{}

// timedContext is a context and its Times in one piece.
type timedContext struct {
	context.Context
	times Times
}

func (c *timedContext) Value(key any) any {
	if key == (timesKey{}) {
		return &c.times
	}
	return c.Context.Value(key)
}

// Timed returns a context with which Propose and ReadIndex note their times. The
// caller looks at them when the request is done; they are not for concurrent use.
func Timed(ctx context.Context) (context.Context, *Times) {
	c := &timedContext{Context: ctx}
	return c, &c.times
}

// timesOf returns the Times of a context, or some that nobody looks at.
func timesOf(ctx context.Context) *Times {
	if t, ok := ctx.Value(timesKey{}).(*Times); ok {
		return t
	}
	return new(Times)
}

// note adds up an answered call's times.
func (t *Times) note(c *call) {
	now := time.Now()
	b := c.batch
	switch {
	case b == nil: // never proposed
		t.Queue += now.Sub(c.since)
	case b.applied.IsZero(): // never applied, as far as this member knows
		t.Queue += b.proposed.Sub(c.since)
		t.Replicate += now.Sub(b.proposed)
	default:
		t.Queue += b.proposed.Sub(c.since)
		t.Replicate += b.applying.Sub(b.proposed)
		t.Apply += b.applied.Sub(b.applying)
	}
}
