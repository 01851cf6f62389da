package plan

import (
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
	for i := 0; i < len(s.queue); {
		r := s.queue[i]
		if s.rules.Turn(s.down, s.queue[:i], r, s.now) != nil {
			i++
			continue
		}
		r.PhaseSince = s.now
		names, s.down = append(names, r.Name()), append(s.down, r)
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	return names
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
	for i, r := range s.queue {
		s.rollout.Never = append(s.rollout.Never, waiting(r, slots.Status{}, s.rules.Turn(s.down, s.queue[:i], r, s.now)))
	}
	return &s.rollout
}
