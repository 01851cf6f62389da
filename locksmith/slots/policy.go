package slots

import (
	"errors"
	"fmt"
	"time"
)

const (
	// DefaultMax is the limit of a group for which none was set.
	DefaultMax = 1
	// DefaultBreaker is after how many failed returns in a row a group pauses
	// when its policy does not say.
	DefaultBreaker = 3
	// MaxSlots is the highest limit.
	MaxSlots = 1_000_000
	// maxSeconds bounds the times of a policy: a year.
	maxSeconds = 366 * 24 * 60 * 60
)

// Policy is what an operator wants of a group, or of all groups together.
type Policy struct {
	// Max is how many machines may hold a slot at once, from 0, which lets none
	// reboot, to MaxSlots. nil is DefaultMax for a group and no limit for all groups.
	Max *int `json:"max,omitempty"`
	// PerZone is how many of them may be in one zone; 0 is no limit.
	PerZone int `json:"per_zone,omitempty"`
	// Zones is in how many zones machines may be down at once; 0 is no limit.
	Zones int `json:"zones,omitempty"`

	// What follows is of groups alone.

	// DeadHolder says what becomes of the slot of a machine that does not come back.
	DeadHolder DeadHolder `json:"dead_holder,omitempty"`
	// DeadAfterSeconds is when, counted from the last change of the holder's phase.
	DeadAfterSeconds int64 `json:"dead_after_seconds,omitempty"`
	// Breaker is after how many failed returns in a row the group pauses, 0 for
	// never; nil is DefaultBreaker.
	Breaker *int `json:"breaker,omitempty"`
	// SoakSeconds is how long machines of a stage wait after the last return of
	// one of an earlier stage, and after they want to reboot themselves.
	SoakSeconds int64 `json:"soak_seconds,omitempty"`
}

// DeadHolder is a policy for the slots of machines that do not come back.
type DeadHolder string

const (
	// Hold keeps the slot until the machine or an operator gives it back: so one
	// bad image stops the rollout. It is the default.
	Hold DeadHolder = "hold"
	// ReleaseAfter gives it back after the time, whether the machine runs or not.
	ReleaseAfter DeadHolder = "release-after"
	// ReleaseIfAbsent gives it back after the time if the machine's agent is not alive
	// either. It keeps slots that no agent took, as those of FleetLock.
	ReleaseIfAbsent DeadHolder = "release-if-absent"
)

// ErrPolicy says that a policy cannot be used.
var ErrPolicy = errors.New("invalid policy")

// Validate says what is wrong with the policy of a group, or nil. A limit out of
// range is [ErrMax], all else [ErrPolicy].
func (p *Policy) Validate() error {
	for _, n := range []struct {
		name  string
		value int
	}{{"max", p.MaxOr(0)}, {"per_zone", p.PerZone}, {"zones", p.Zones}, {"breaker", p.BreakerOr(0)}} {
		if n.value < 0 || n.value > MaxSlots {
			return fmt.Errorf("slots: %s of %d: %w: 0 to %d are allowed", n.name, n.value, ErrMax, MaxSlots)
		}
	}
	switch p.DeadHolder {
	case "", Hold:
		if p.DeadAfterSeconds != 0 {
			return fmt.Errorf("slots: dead_after_seconds: %w: it needs dead_holder %q or %q", ErrPolicy, ReleaseAfter, ReleaseIfAbsent)
		}
	case ReleaseAfter, ReleaseIfAbsent:
		if p.DeadAfterSeconds <= 0 {
			return fmt.Errorf("slots: dead_holder %q: %w: it needs dead_after_seconds above 0", p.DeadHolder, ErrPolicy)
		}
	default:
		return fmt.Errorf("slots: dead_holder %q: %w: %q, %q and %q are known", p.DeadHolder, ErrPolicy, Hold, ReleaseAfter, ReleaseIfAbsent)
	}
	for name, seconds := range map[string]int64{"dead_after_seconds": p.DeadAfterSeconds, "soak_seconds": p.SoakSeconds} {
		if seconds < 0 || seconds > maxSeconds {
			return fmt.Errorf("slots: %s of %d: %w: 0 to %d are allowed", name, seconds, ErrPolicy, maxSeconds)
		}
	}
	return nil
}

// validateCluster is Validate for the policy of all groups together.
func (p *Policy) validateCluster() error {
	limits := Policy{Max: p.Max, PerZone: p.PerZone, Zones: p.Zones}
	if *p != limits {
		return fmt.Errorf("slots: policy of the cluster: %w: only max, per_zone and zones are for all groups together", ErrPolicy)
	}
	return p.Validate()
}

// MaxOr is the limit, or what stands for it when none is set.
func (p *Policy) MaxOr(none int) int {
	if p.Max == nil {
		return none
	}
	return *p.Max
}

// BreakerOr is the circuit breaker's count, or what stands for it when none is set.
func (p *Policy) BreakerOr(none int) int {
	if p.Breaker == nil {
		return none
	}
	return *p.Breaker
}

func (p *Policy) soak() time.Duration { return time.Duration(p.SoakSeconds) * time.Second }

// deadAt is when the machine of r counts as one that does not come back, and
// whether it ever does. The slots of operators and of failed machines stay: the
// one was taken on purpose, the other is there to be looked at. A machine that has
// no agent of ours cannot be absent.
func (p *Policy) deadAt(r Record) (at time.Time, ever bool) {
	switch {
	case r.Failed != "", r.TakenBy == TakenByOperator, p.DeadHolder == ReleaseIfAbsent && r.TakenBy != TakenByAgent:
		return time.Time{}, false
	case p.DeadHolder != ReleaseAfter && p.DeadHolder != ReleaseIfAbsent:
		return time.Time{}, false
	}
	return r.PhaseSince.Add(time.Duration(p.DeadAfterSeconds) * time.Second), true
}
