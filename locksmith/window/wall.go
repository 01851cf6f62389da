package window

import (
	"slices"
	"sort"
	"time"
)

// which picks one of two moments at which the clocks of a zone show the same.
type which int

const (
	firstOf which = iota
	lastOf
)

// furthest bounds how far the clocks of a zone are from UTC. No zone changes them
// twice within the double of it.
const furthest = 16 * time.Hour

// atWall is the moment at which the clocks of loc show what wall, a time in UTC,
// shows. A time that they skip is the moment in which they skip it; exists says
// whether that is still on the day of wall. [time.Date] leaves both cases open, and
// [time.Time.ZoneBounds] is wrong on the last day of some leap years.
func atWall(wall time.Time, loc *time.Location, pick which) (t time.Time, exists bool) {
	_, before := wall.Add(-furthest).In(loc).Zone()
	_, after := wall.Add(furthest).In(loc).Zone()
	offsets := []int{max(before, after), min(before, after)} // the larger one makes an earlier moment of wall
	if pick == lastOf {
		slices.Reverse(offsets)
	}
	for _, offset := range offsets {
		candidate := wall.Add(-time.Duration(offset) * time.Second).In(loc)
		if _, is := candidate.Zone(); is == offset {
			return candidate, true
		}
	}
	start := wall.Add(-furthest)
	skip := start.Add(time.Second * time.Duration(sort.Search(int(2*furthest/time.Second), func(n int) bool {
		_, offset := start.Add(time.Duration(n) * time.Second).In(loc).Zone()
		return offset != before
	}))).In(loc)
	y, m, d := skip.Date()
	wy, wm, wd := wall.Date()
	return skip, y == wy && m == wm && d == wd
}
