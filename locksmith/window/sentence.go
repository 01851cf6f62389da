package window

import (
	"fmt"
	"strings"
	"time"
)

// closedBecause says what keeps now closed, if it is.
func (s *Schedule) closedBecause(now, wished time.Time, openings []span) string {
	if b, ok := s.lastBlackout(now); ok {
		why := "blackout until " + clock(b.end, b.zone)
		if b.reason != "" {
			why = fmt.Sprintf("blackout (%s) until %s", b.reason, clock(b.end, b.zone))
		}
		return why
	}
	for _, o := range openings {
		if now.Before(o.start) || !now.Before(o.end) {
			continue
		}
		if _, end, ok := s.turn(o, now, wished); !ok || !now.Before(end) {
			return fmt.Sprintf("a reboot takes %s, and what is left ends %s", rough(s.expected), clock(o.end, o.zone))
		}
		return "this machine waits for its part of the jitter"
	}
	return "outside of the windows"
}

func openUntil(end time.Time, zone *time.Location) Verdict {
	if end.IsZero() {
		return Verdict{Open: true, Why: "open"}
	}
	return Verdict{Open: true, Until: end, Why: "open: a reboot may start until " + clock(end, zone)}
}

func closedUntil(now, next time.Time, zone *time.Location, reason string) Verdict {
	return Verdict{Next: next, Why: fmt.Sprintf("closed: %s; opens %s, in %s", reason, clock(next, zone), rough(next.Sub(now)))}
}

// clock writes a moment so that the day of the week, the date and the zone are beyond doubt.
func clock(t time.Time, zone *time.Location) string {
	layout := "Mon 2006-01-02 15:04 MST"
	if t.Second() != 0 || t.Nanosecond() != 0 {
		layout = "Mon 2006-01-02 15:04:05 MST"
	}
	text := t.In(zone).Format(layout)
	if name := zone.String(); name != "Local" && name != "UTC" {
		text += " (" + name + ")"
	}
	return text
}

// rough writes a duration as 3h10m.
func rough(d time.Duration) string {
	switch {
	case d >= time.Hour:
		d = d.Round(time.Minute)
	case d >= time.Second:
		d = d.Round(time.Second)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
