package fence

import (
	"fmt"
	"slices"
)

// Scope is what somebody who keeps marks answers for: one resource and the slots of it that exist. Tokens from outside of
// it are refused before anything is stored for them, so what is stored is bounded. A Scope is safe for concurrent use.
type Scope struct {
	resource string
	slots    []string // canonical
}

// NewScope makes the scope of a resource, named as in Fields.Resource. Without slots, it is the scope of tokens whose slot
// is "": those of mutexes, RW locks and elections.
func NewScope(resource string, slots ...string) Scope {
	s := Scope{resource: canonical(resource, maxResourceBytes), slots: []string{""}}
	if len(slots) > 0 {
		s.slots = make([]string, len(slots))
		for i, slot := range slots {
			s.slots[i] = canonical(slot, maxSlotBytes)
		}
	}
	return s
}

// Slots returns the slots in canonical form. The slice is not to be changed.
func (s Scope) Slots() []string { return s.slots }

// Covers returns nil if t belongs to the scope, ErrIncomparable otherwise.
func (s Scope) Covers(t Token) error {
	switch {
	case t.IsZero():
		return fmt.Errorf("%w: no token", ErrIncomparable)
	case t.resource != s.resource:
		return fmt.Errorf("%w: the token is for %s, not for %s", ErrIncomparable, t.resource, s.resource)
	case !slices.Contains(s.slots, t.slot):
		return fmt.Errorf("%w: %s has no slot %q", ErrIncomparable, s.resource, t.slot)
	}
	return nil
}
