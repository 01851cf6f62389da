package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/coordd/coordd/recipes"
)

// held is what coordctl holds without a command: a *recipes.Hold or a *recipes.Leadership.
type held interface {
	Context() context.Context
	ReleaseAsked() <-chan struct{}
	Asker() *recipes.Holder
}

// awaitEnd waits for the end: of ctx, which is no error, or of what is held. That somebody asks for the release is said,
// and with yield the end.
func awaitEnd(ctx context.Context, stderr io.Writer, h held, yield bool) error {
	for askedFor := h.ReleaseAsked(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-h.Context().Done():
			return &endangeredError{whyLost(h)}
		case <-askedFor:
			askedFor = nil
			tellAsked(stderr, h.Asker())
			if yield {
				return nil
			}
		}
	}
}

// whyLost is why what was held has ended, nil if it has not. Who breaks a lock asks for its release before, with a reason.
func whyLost(h held) error {
	why := context.Cause(h.Context())
	if asker := h.Asker(); asker != nil && errors.Is(why, recipes.ErrKeyDeleted) {
		return fmt.Errorf("%w (%s)", why, asked(new(text), *asker))
	}
	return why
}

// tellAsked says who asks for the release of what is held.
func tellAsked(stderr io.Writer, asker *recipes.Holder) {
	fmt.Fprintln(stderr, "coordctl:", asked(new(text), *asker))
}

// holdResult is what was acquired: its key in the store, and the token for what checks it.
type holdResult struct {
	Key      string `json:"key"`
	Revision int64  `json:"revision"`
	Token    string `json:"token"`
}

func newHoldResult(h *recipes.Hold) holdResult {
	return holdResult{Key: h.Key(), Revision: h.Token().Revision(), Token: h.Token().String()}
}

func (r holdResult) simple(t *text) {
	t.line(r.Key)
	t.line(r.Token)
}

func (r holdResult) fields(t *text) {
	t.quoted("Key", r.Key)
	t.field("Revision", r.Revision)
	t.quoted("Token", r.Token)
}

func (r holdResult) value(bool) any { return r }
