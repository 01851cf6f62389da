package plan

import (
	"errors"
	"slices"
	"time"

	"github.com/coordd/coordd/locksmith/slots"
)

// Step is one moment of a simulated rollout, in which machines come back and go.
type Step struct {
	After time.Duration `json:"after_ns"` // since all wanted to reboot
	Back  []string      `json:"back,omitempty"`
	Goes  []string      `json:"goes,omitempty"`
	Down  int           `json:"down"` // machines that are down then
}

// Rollout is what would become of a fleet of which every machine wants to reboot
// at once.
type Rollout struct {
	Steps []Step        `json:"steps"`
	Took  time.Duration `json:"took_ns"`
	Never []Machine     `json:"never,omitempty"` // those that would not get a slot, and why
}

// Simulate lets all machines of one group want to reboot at the same moment under
// the rules, each of which is down for the time each, with nobody else about.
// Machines go in the order of stages, priorities and of the slice.
func Simulate(rules slots.Rules, machines []slots.Record, each time.Duration, from time.Time) *Rollout {
	s := &simulation{rules: rules, each: each, from: from, now: from}
	for i, m := range machines {
		m.Since, m.Fence, m.Phase = from, int64(i+1), slots.Waiting
		s.queue = append(s.queue, m)
	}
	slices.SortStableFunc(s.queue, slots.CompareInQueue)
	for {
		step := Step{After: s.now.Sub(from), Back: s.back(), Goes: s.admit()}
		step.Down = len(s.down)
		if len(step.Back)+len(step.Goes) > 0 {
			s.rollout.Steps = append(s.rollout.Steps, step)
		}
		if !s.advance() {
			return s.end()
		}
	}
}

type simulation struct {
	rules     slots.Rules
	each      time.Duration
	from, now time.Time
	queue     []slots.Record
	down      []slots.Record // since PhaseSince
	rollout   Rollout
}

// back ends the reboots that have taken their time.
func (s *simulation) back() (names []string) {
	s.down = slices.DeleteFunc(s.down, func(r slots.Record) bool {
		if s.now.Before(r.PhaseSince.Add(s.each)) {
			return false
		}
		s.rules.Standing = s.rules.Standing.Succeed(r.Stage, s.now)
		names = append(names, r.Name())
		return true
	})
	return names
}

// admit grants all slots that can be granted now.
func (s *simulation) admit() (names []string) {
	var went []slots.Record
	var left []slots.Record
	s.rules.Turns(s.down, s.queue, s.now, func(i int, refused error) bool {
		if refused != nil {
			left = append(left, s.queue[i])
			if !forAll(s.rules.Refuses(slices.Concat(s.down, went), s.queue[i])) {
				return true
			}
			left = append(left, s.queue[i+1:]...)
			return false
		}
		r := s.queue[i]
		r.PhaseSince = s.now
		names, went = append(names, r.Name()), append(went, r)
		return true
	})
	s.down, s.queue = append(s.down, went...), left
	return names
}

// forAll reports whether a refusal holds for every machine of the group.
func forAll(refused error) bool {
	r, ok := errors.AsType[*slots.RefusedError](refused)
	return errors.Is(refused, slots.ErrFull) || ok && (r.Kind == slots.RefusedPaused || r.Kind == slots.RefusedCluster)
}

// advance goes to the next moment at which anything can change, if there is one.
func (s *simulation) advance() bool {
	var next time.Time
	consider := func(at time.Time) {
		if at.After(s.now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, r := range s.down {
		consider(r.PhaseSince.Add(s.each))
	}
	if len(s.queue) > 0 {
		soak := time.Duration(s.rules.Group.SoakSeconds) * time.Second
		consider(s.from.Add(soak))
		for _, at := range s.rules.Standing.Returned {
			consider(at.Add(soak))
		}
	}
	if next.IsZero() {
		return false
	}
	s.now = next
	return true
}

func (s *simulation) end() *Rollout {
	s.rollout.Took = s.now.Sub(s.from)
	if n := len(s.rollout.Steps); n > 0 {
		s.rollout.Took = s.rollout.Steps[n-1].After
	}
	s.rules.Turns(s.down, s.queue, s.now, func(i int, refused error) bool {
		s.rollout.Never = append(s.rollout.Never, waiting(s.queue[i], slots.Status{}, refused))
		return true
	})
	return &s.rollout
}
