package window

import "time"

// which picks one of two moments at which the clocks of a zone show the same.
type which int

const (
	firstOf which = iota
	lastOf
)

// furthest bounds how far a zone's clocks are from UTC.
const furthest = 16 * time.Hour

// atWall is the moment at which the clocks of loc show what wall, a time in UTC,
// shows. A time that they skip is the moment in which they skip it; exists says
// whether that is still on the day of wall. [time.Date] leaves both cases open.
func atWall(wall time.Time, loc *time.Location, pick which) (t time.Time, exists bool) {
	found := false
	var skip time.Time
	for at := wall.Add(-furthest); at.Before(wall.Add(furthest)); {
		_, offset := at.In(loc).Zone()
		start, end := at.In(loc).ZoneBounds()
		candidate := wall.Add(-time.Duration(offset) * time.Second)
		after := !start.IsZero() && candidate.Before(start) // the clocks show more than wall all the time
		before := !end.IsZero() && !candidate.Before(end)
		switch {
		case !after && !before && (!found || pick == lastOf):
			t, found = candidate, true
		case after && skip.IsZero():
			skip = start // and in the stretch before they show less
		}
		if end.IsZero() {
			break
		}
		at = end
	}
	if found {
		return t.In(loc), true
	}
	skip = skip.In(loc)
	y, m, d := skip.Date()
	wy, wm, wd := wall.Date()
	return skip, y == wy && m == wm && d == wd
}
