package slots

import "time"

// Standing is what has come of a group, or of all groups together. Operators
// change it by pausing and resuming, machines by the way they come back.
type Standing struct {
	Pause    *Pause            `json:"pause,omitempty"`
	Failures int               `json:"failures,omitempty"` // failed returns since the last good one, or since resume
	Returned map[int]time.Time `json:"returned,omitempty"` // by stage: the last good return
}

// Pause keeps machines from being granted slots. Those that have one go on.
type Pause struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// breakerName is who pauses a group of which too many machines did not come back well.
const breakerName = "circuit breaker"

// fail counts a failed return and pauses the group when it was one too many.
func (s Standing) fail(p Policy, why string, now time.Time) Standing {
	s.Failures++
	if n := p.BreakerOr(DefaultBreaker); n > 0 && s.Failures >= n && s.Pause == nil {
		s.Pause = &Pause{By: breakerName, Reason: why, Since: now}
	}
	return s
}

// Succeed notes the good return of a machine of the stage.
func (s Standing) Succeed(stage int, now time.Time) Standing {
	returned := map[int]time.Time{stage: now}
	for other, at := range s.Returned {
		if other != stage {
			returned[other] = at
		}
	}
	s.Failures, s.Returned = 0, returned
	return s
}
