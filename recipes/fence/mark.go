package fence

import (
	"errors"
	"fmt"
	"strings"
)

// ErrStale is the error for a token that was overtaken. The error is a *StaleError.
var ErrStale = errors.New("fence: stale token")

// StaleError says which token was refused, and by which mark. It is ErrStale.
type StaleError struct {
	Token Token
	Mark  Mark
}

// Error names the token and the one that overtook it.
func (e *StaleError) Error() string {
	by := e.Mark.all
	if e.Token.mode == Shared && e.Token.epoch == by.epoch && !notBefore(e.Token, e.Mark.write) {
		by = e.Mark.write
	}
	return fmt.Sprintf("%v: %s, after %s was admitted", ErrStale, e.Token, by)
}

// Unwrap makes the error ErrStale.
func (e *StaleError) Unwrap() error { return ErrStale }

// Mark is what has to be remembered of one slot of one resource: the highest exclusive token that was admitted, and the
// highest of all. The zero Mark has admitted none. Marks are values, safe to copy and to compare with ==.
//
// The text form is the text of the highest token, a space, and the text of the highest exclusive one, "-" if there was
// none; of the zero Mark it is empty. It is at most 2·MaxTextBytes+1 bytes long.
type Mark struct {
	write, all Token
}

// NewMark makes the mark that admitted write last among the exclusive tokens and all last among all tokens. write may be
// the zero Token, and both may. It refuses two tokens that cannot have been admitted by one mark.
func NewMark(write, all Token) (Mark, error) {
	m := Mark{write: write, all: all}
	switch {
	case write.IsZero() && (all.IsZero() || all.mode == Shared):
		return m, nil
	case write.mode != Exclusive || all.mode == Exclusive && all != write:
		return Mark{}, fmt.Errorf("%w: %q is not the last exclusive token up to %q", ErrMalformed, write, all)
	}
	c, err := write.Compare(all)
	if err != nil || write.slot != all.slot || write != all && c >= 0 {
		return Mark{}, fmt.Errorf("%w: %q and %q make no mark", ErrMalformed, write, all)
	}
	return m, nil
}

// Write is the highest exclusive token that was admitted, the zero Token if there was none.
func (m Mark) Write() Token { return m.write }

// All is the highest token that was admitted, the zero Token if there was none.
func (m Mark) All() Token { return m.all }

// IsZero reports whether m has admitted no token.
func (m Mark) IsZero() bool { return m == Mark{} }

// Admit returns the mark after t, or m and why t must be refused: a *StaleError when t was overtaken, ErrIncomparable
// when it belongs to another cluster, resource or slot. The first token decides which those are.
//
// An exclusive token passes if no token above it was admitted, a shared one if no exclusive token above it was. A
// token whose revision was admitted before passes only if it is of the same acquisition: if its Attempt is the same.
func (m Mark) Admit(t Token) (Mark, error) {
	if err := m.knows(t); err != nil {
		return m, err
	}
	switch {
	case m.IsZero() || t.epoch > m.all.epoch:
		return Mark{}.raised(t), nil
	case t.epoch < m.all.epoch || !m.passes(t):
		return m, &StaleError{Token: t, Mark: m}
	}
	return m.raised(t), nil
}

func (m Mark) knows(t Token) error {
	switch {
	case t.IsZero():
		return fmt.Errorf("%w: no token", ErrIncomparable)
	case m.IsZero():
		return nil
	case t.cluster != m.all.cluster:
		return fmt.Errorf("%w: cluster %016x, the mark is of %016x", ErrIncomparable, t.cluster, m.all.cluster)
	case t.resource != m.all.resource || t.slot != m.all.slot:
		return fmt.Errorf("%w: slot %q of %s, the mark is of slot %q of %s", ErrIncomparable, t.slot, t.resource, m.all.slot, m.all.resource)
	}
	return nil
}

// passes is the rule within one epoch.
func (m Mark) passes(t Token) bool {
	if t.mode == Shared {
		tie := t.revision == m.all.revision && t.Attempt() != m.all.Attempt()
		return notBefore(t, m.write) && !tie
	}
	return notBefore(t, m.all)
}

// notBefore reports whether t is the acquisition of seen or a later one. A tie of two acquisitions is neither.
func notBefore(t, seen Token) bool {
	return t.revision > seen.revision || t.revision == seen.revision && t.Attempt() == seen.Attempt()
}

func (m Mark) raised(t Token) Mark {
	switch {
	case t.mode == Exclusive:
		return Mark{write: t, all: t}
	case t.revision > m.all.revision:
		return Mark{write: m.write, all: t}
	}
	return m
}

// String is the text form.
func (m Mark) String() string {
	switch {
	case m.IsZero():
		return ""
	case m.write.IsZero():
		return m.all.String() + " -"
	}
	return m.all.String() + " " + m.write.String()
}

// MarshalText is the text form.
func (m Mark) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the text form, and only what String writes. The error is ErrMalformed.
func (m *Mark) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = Mark{}
		return nil
	}
	if len(text) > 2*MaxTextBytes+1 {
		return fmt.Errorf("%w: a mark of %d bytes", ErrMalformed, len(text))
	}
	allText, writeText, _ := strings.Cut(string(text), " ")
	all, err := Parse(allText)
	if err != nil {
		return err
	}
	var write Token
	if writeText != "-" {
		if write, err = Parse(writeText); err != nil {
			return err
		}
	}
	*m, err = NewMark(write, all)
	return err
}
