package fence

import "sync"

// Guard keeps the marks of one resource in memory. It is for a resource that lives as long as this process: whoever keeps
// it elsewhere must keep the mark with it. A Guard is safe for concurrent use, and never grows.
type Guard struct {
	scope Scope
	slots map[string]*guarded // never changes after NewGuard
}

type guarded struct {
	running sync.Mutex // held while f of Do runs, guards mark
	mark    Mark
}

// NewGuard makes a guard of a resource, named as in Fields.Resource, and of its slots; without slots, of the tokens whose
// slot is "".
func NewGuard(resource string, slots ...string) *Guard {
	g := &Guard{scope: NewScope(resource, slots...), slots: map[string]*guarded{}}
	for _, slot := range g.scope.Slots() {
		g.slots[slot] = &guarded{}
	}
	return g
}

// Advance raises the mark to t. From then on, those that t overtook are refused, and the functions they had passed to Do
// have returned. A holder calls it before it first reads what it is going to write. The errors are those of Mark.Admit.
func (g *Guard) Advance(t Token) error { return g.Do(t, func() error { return nil }) }

// Check tells whether t would pass, as Mark.Admit does, and raises nothing. What it says may be outdated when it returns:
// use it to refuse early, and Do to write.
func (g *Guard) Check(t Token) error {
	if err := g.scope.Covers(t); err != nil {
		return err
	}
	slot := g.slots[t.slot]
	slot.running.Lock()
	defer slot.running.Unlock()
	_, err := slot.mark.Admit(t)
	return err
}

// Do raises the mark to t and runs f, or returns why t must be refused, as Mark.Admit does. For one slot there is one f
// at a time, and every other call for that slot waits for it, so f must not use the guard for that slot. Who holds several
// slots nests their calls, in ascending order. The mark stays raised when f fails.
func (g *Guard) Do(t Token, f func() error) error {
	if err := g.scope.Covers(t); err != nil {
		return err
	}
	slot := g.slots[t.slot]
	slot.running.Lock()
	defer slot.running.Unlock()
	mark, err := slot.mark.Admit(t)
	if err != nil {
		return err
	}
	slot.mark = mark
	return f()
}
