package slots

import (
	"errors"
	"testing"

	"github.com/coordd/coordd/coordd/coorddtest"
)

func TestRemoveDamaged(t *testing.T) {
	g := newGroupAlone(t, newClient(t, coorddtest.Start(t)))
	if _, err := g.client.Put(t.Context(), g.holderKey("a"), "no json"); err != nil {
		t.Fatal(err)
	}
	acquireErr := g.WouldGrant(t.Context(), Record{ID: "b"})
	if acquireErr == nil || errors.Is(acquireErr, ErrRefused) {
		t.Fatalf("beside a record that cannot be read: %v, want an error that is no refusal", acquireErr)
	}
	if err := g.RemoveDamaged(t.Context(), "a", "ann", "from a newer version", noon); err != nil {
		t.Fatal(err)
	}
	if err := g.RemoveDamaged(t.Context(), "a", "ann", "", noon); !errors.Is(err, ErrNotHeld) {
		t.Errorf("a second time: %v, want ErrNotHeld", err)
	}
	s := acquire(t, g, "b")
	if err := g.RemoveDamaged(t.Context(), "b", "ann", "", noon); err == nil {
		t.Error("a record that can be read was removed")
	}
	if _, err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}
