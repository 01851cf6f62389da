package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/coordd/coordd/coordd/disk"
	"go.etcd.io/raft/v3/raftpb"
)

var errPower = errors.New("no power")

// logModel is what a log should hold.
type logModel struct {
	hard    hardState
	base    Position
	entries []*raftpb.Entry
}

func (m logModel) last() uint64 { return m.base.Index + uint64(len(m.entries)) }

// term returns the term at index, if the log reaches there.
func (m logModel) term(index uint64) (uint64, bool) {
	switch {
	case index == m.base.Index:
		return m.base.Term, true
	case index < m.base.Index || index > m.last():
		return 0, false
	}
	return m.entries[index-m.base.Index-1].GetTerm(), true
}

func (m logModel) save(hard hardState, list []*raftpb.Entry) logModel {
	if hard != (hardState{}) {
		m.hard = hard
	}
	if len(list) > 0 {
		keep := list[0].GetIndex() - m.base.Index - 1
		m.entries = slices.Concat(m.entries[:keep], list)
	}
	return m
}

func (m logModel) snapshot(p Position) logModel {
	m.hard.commit = max(m.hard.commit, p.Index)
	return logModel{hard: m.hard, base: p}
}

// explains returns why r is not m, of which entries up to released may be gone.
func (m logModel) explains(r *Recovered, released uint64) error {
	if got := stateOf(r.HardState); got != m.hard {
		return fmt.Errorf("hard state %v, want %v", got, m.hard)
	}
	if term, ok := m.term(r.Snapshot.Index); !ok || term != r.Snapshot.Term {
		return fmt.Errorf("starts after %v, which is not in the log", r.Snapshot)
	}
	if r.Snapshot.Index > max(m.base.Index, released) {
		return fmt.Errorf("starts after %v, released up to %d", r.Snapshot, released)
	}
	rest := m.entries[r.Snapshot.Index-m.base.Index:]
	same := func(a, b *raftpb.Entry) bool {
		return a.GetIndex() == b.GetIndex() && a.GetTerm() == b.GetTerm() && string(a.GetData()) == string(b.GetData())
	}
	if !slices.EqualFunc(rest, r.Entries, same) {
		return fmt.Errorf("%d entries after %v, which differ from the %d expected", len(r.Entries), r.Snapshot, len(rest))
	}
	return nil
}

// crasher runs a log through random saves and crashes.
type crasher struct {
	rng  *rand.Rand
	disk *disk.Memory
	term uint64
	// states are what the log may hold: the last one acknowledged, and those attempted since.
	states   []logModel
	released uint64
	torn     int
	lost     int
}

// cutPower makes the n-th operation from now, and every one after it, fail.
func (c *crasher) cutPower(n int) {
	c.disk.SetFault(func(disk.Op) error {
		if n--; n < 0 {
			return errPower
		}
		return nil
	})
}

func (c *crasher) attempt(m logModel)   { c.states = append(c.states, m) }
func (c *crasher) acknowledge()         { c.states = c.states[len(c.states)-1:] }
func (c *crasher) latest() logModel     { return c.states[len(c.states)-1] }
func (c *crasher) chance(one int) bool  { return c.rng.IntN(one) == 0 }
func (c *crasher) upTo(n uint64) uint64 { return c.rng.Uint64N(n + 1) }

// step does one random thing to the log.
func (c *crasher) step(l *Log) error {
	m := c.latest()
	switch {
	case c.chance(15):
		c.term++
		p := Position{Index: m.last() + 1 + c.upTo(5), Term: c.term}
		c.attempt(m.snapshot(p))
		if err := l.SaveSnapshot(p); err != nil {
			return err
		}
		c.acknowledge()
		return nil
	case c.chance(8):
		commit := max(c.states[0].hard.commit, c.released)
		c.released = commit
		return l.Release(commit)
	}
	from := m.last() + 1
	if floor := max(m.hard.commit, m.base.Index, c.released) + 1; c.chance(5) && floor < from {
		c.term++
		from = floor + c.upTo(from-floor)
	}
	var list []*raftpb.Entry
	for i := range c.upTo(3) {
		e := entry(from+i, c.term)
		e.Data = fmt.Appendf(nil, "%d %0*d", c.rng.Uint64(), c.rng.IntN(300), 0)
		list = append(list, e)
	}
	next := m.save(hardState{}, list)
	var hard hardState
	if c.chance(2) {
		hard = hardState{c.term, 1 + c.upTo(2), m.hard.commit + c.upTo(next.last()-m.hard.commit)}
		next = next.save(hard, nil)
	}
	sync := !c.chance(3)
	c.attempt(next)
	if err := l.Save(hard.message(), list, sync); err != nil {
		return err
	}
	if sync {
		c.acknowledge()
	}
	return nil
}

// open opens the log and checks that it holds nothing but what it may.
func (c *crasher) open() (*Log, error) {
	l, r, err := open(c.disk, dir, small)
	if err != nil {
		return nil, err
	}
	if r.TornBytes > 0 {
		c.torn++
	}
	var reasons []error
	for i, m := range slices.Backward(c.states) {
		reason := m.explains(r, c.released)
		if reason == nil {
			if i < len(c.states)-1 {
				c.lost++
			}
			c.states = []logModel{m}
			return l, nil
		}
		reasons = append(reasons, reason)
	}
	return nil, errors.Join(reasons...)
}

func (c *crasher) run() error {
	var l *Log
	var err error
	for l == nil {
		c.cutPower(c.rng.IntN(40))
		if l, err = create(c.disk, dir, []byte("meta"), Position{}, nil, small); err == nil {
			break
		}
		if !errors.Is(err, errPower) {
			return err
		}
		c.disk.Crash(c.rng.Uint64())
		if exists, err := Exists(c.disk, dir); err != nil {
			return err
		} else if exists {
			l, err = c.open()
			if err != nil {
				return err
			}
		}
	}
	for range 6 {
		c.cutPower(c.rng.IntN(120))
		var err error
		for range 60 {
			if err = c.step(l); err != nil {
				break
			}
		}
		if err != nil && !errors.Is(err, errPower) {
			return err
		}
		c.disk.SetFault(func(disk.Op) error { return errPower })
		_ = l.Close()
		c.disk.Crash(c.rng.Uint64())
		for try := 1; ; try++ {
			c.cutPower(c.rng.IntN(100 * try))
			if l, err = c.open(); err == nil {
				break
			}
			if !errors.Is(err, errPower) {
				return err
			}
			c.disk.Crash(c.rng.Uint64())
		}
	}
	c.disk.SetFault(nil)
	return l.Close()
}

// TestCrash cuts the power at random operations, in Create, Open and Release too, and expects all that
// was acknowledged and nothing that was not saved.
func TestCrash(t *testing.T) {
	var torn, lost int
	for seed := range uint64(500) {
		c := &crasher{
			rng:    rand.New(rand.NewPCG(seed, 1)),
			disk:   disk.NewMemory(),
			term:   1,
			states: []logModel{{}},
		}
		if err := c.run(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		torn += c.torn
		lost += c.lost
	}
	if torn < 50 || lost < 50 {
		t.Errorf("%d torn tails and %d saves lost: the crashes are too kind to prove anything", torn, lost)
	}
}

// TestCrashCheckComplains holds the check of TestCrash to noticing a lost save.
func TestCrashCheckComplains(t *testing.T) {
	full := logModel{hard: hardState{1, 1, 1}, entries: entries(1, 3, 1)}
	whole := recovered(hardOf(1, 1, 1), Position{}, entries(1, 3, 1))
	if err := full.explains(whole, 0); err != nil {
		t.Errorf("the whole log: %v", err)
	}
	for what, r := range map[string]*Recovered{
		"entry lost":      recovered(hardOf(1, 1, 1), Position{}, entries(1, 2, 1)),
		"entry invented":  recovered(hardOf(1, 1, 1), Position{}, entries(1, 4, 1)),
		"wrong term":      recovered(hardOf(1, 1, 1), Position{}, entries(1, 2, 1), entries(3, 3, 2)),
		"vote lost":       recovered(hardOf(1, 0, 1), Position{}, entries(1, 3, 1)),
		"start lost":      recovered(hardOf(1, 1, 1), Position{Index: 1, Term: 1}, entries(2, 3, 1)),
		"start elsewhere": recovered(hardOf(1, 1, 1), Position{Index: 7, Term: 1}),
	} {
		if full.explains(r, 0) == nil {
			t.Errorf("%s: not noticed", what)
		}
	}
}
