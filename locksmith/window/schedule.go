package window

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
	"strconv"
	"time"
)

// Schedule is when one machine may reboot. It does not change, and its methods
// may be called concurrently.
type Schedule struct {
	machineID string
	local     *time.Location
	windows   []recurrence
	blackouts []blackout
	expected  time.Duration
	jitter    time.Duration
}

// recurrence is a window as it is computed with.
type recurrence struct {
	days         [7]bool // by time.Weekday
	hour, minute int
	length       time.Duration
	zone         *time.Location
}

// span is a stretch of time, without its end.
type span struct {
	start, end time.Time
	zone       *time.Location // in which people are told of it
}

// blackout is a span with a reason.
type blackout struct {
	start, end time.Time
	zone       *time.Location
	reason     string
}

// Verdict is what a schedule says of one moment.
type Verdict struct {
	Open  bool      `json:"open"`
	Until time.Time `json:"until,omitzero"` // when open: the first moment at which it is not; zero: no end for weeks
	Next  time.Time `json:"next,omitzero"`  // when closed: the first moment at which it is open; zero: none for twenty years
	Why   string    `json:"why"`            // for people, with the time zone
}

const (
	// chunk is how much of the calendar is laid out at once. An opening that
	// begins in its first half has room for its jitter and its reboot in the second.
	chunk = 28 * 24 * time.Hour
	// maxChunks bounds the search for the next opening to twenty years and all of the blackouts.
	maxChunks = 20 * 27
)

// At says whether a reboot may start at now. wished is since when it is wanted;
// it matters for the jitter of a schedule without windows alone, and zero leaves
// that jitter out.
func (s *Schedule) At(now, wished time.Time) Verdict {
	now = now.Round(0) // the wall clock decides, not the monotonic one
	// What opened longer ago than the longest jitter needs no earlier beginning.
	from := now.Add(-s.jitter)
	reason := ""
	for range maxChunks {
		to := from.Add(chunk)
		openings := s.openings(from, to)
		if reason == "" {
			reason = s.closedBecause(now, wished, openings)
		}
		for _, o := range openings {
			if !o.start.Before(from.Add(chunk / 2)) {
				break
			}
			first, end, ok := s.turn(o, now, wished)
			if !ok || !now.Before(end) {
				continue
			}
			if now.Before(first) {
				return closedUntil(now, first, o.zone, reason)
			}
			if !o.end.Before(to) {
				end = time.Time{}
			}
			return openUntil(end, o.zone)
		}
		from = s.skipBlackout(from.Add(chunk / 2))
	}
	return Verdict{Why: "closed: " + reason + "; it does not open for many years"}
}

// turn is when this machine's part of an opening begins and ends.
func (s *Schedule) turn(o span, now, wished time.Time) (first, end time.Time, ok bool) {
	first, end = o.start, o.end.Add(-s.expected)
	key := strconv.FormatInt(o.start.Unix(), 10)
	if len(s.windows) == 0 && wished.After(first) && !wished.After(now) {
		// The key is not the wish: an agent that has forgotten since when waits as long again, not longer.
		first, key = wished, "wish"
	}
	room := end.Sub(first)
	if room <= 0 {
		return first, end, false
	}
	return first.Add(s.delay(key, min(s.jitter, room))), end, true
}

// delay is from 0 to below most, in whole seconds, evenly spread over machines and keys.
func (s *Schedule) delay(key string, most time.Duration) time.Duration {
	sum := sha256.Sum256([]byte(key + "\x00" + s.machineID))
	part, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:]), uint64(most))
	return time.Duration(part).Truncate(time.Second)
}

// openings lays out the openings that meet [from, to), by rising start. An
// opening that reaches over from or to may be cut there.
func (s *Schedule) openings(from, to time.Time) []span {
	if len(s.windows) == 0 {
		return s.withoutBlackouts([]span{{from, to, s.local}})
	}
	var all []span
	for i := range s.windows {
		all = s.windows[i].occurrences(all, from, to)
	}
	slices.SortStableFunc(all, func(a, b span) int { return a.start.Compare(b.start) })
	merged := all[:0]
	for _, o := range all {
		if n := len(merged); n > 0 && !o.start.After(merged[n-1].end) {
			merged[n-1].end = later(merged[n-1].end, o.end)
			continue
		}
		merged = append(merged, o)
	}
	return s.withoutBlackouts(merged)
}

// occurrences appends those of the window that meet [from, to).
func (r *recurrence) occurrences(all []span, from, to time.Time) []span {
	// Days are counted in UTC, where each exists and has 24 hours.
	y, m, d := from.Add(-r.length - 24*time.Hour).In(r.zone).Date()
	for day := time.Date(y, m, d, r.hour, r.minute, 0, 0, time.UTC); day.Before(to.Add(48 * time.Hour)); day = day.AddDate(0, 0, 1) {
		if !r.days[day.Weekday()] {
			continue
		}
		start, exists := atWall(day, r.zone, firstOf)
		end := start.Add(r.length)
		if exists && start.Before(to) && from.Before(end) {
			all = append(all, span{start, end, r.zone})
		}
	}
	return all
}

// withoutBlackouts cuts the blackouts out of spans that do not meet, by rising start, and leaves them so.
func (s *Schedule) withoutBlackouts(spans []span) []span {
	for _, b := range s.blackouts {
		if n := len(spans); n == 0 || !spans[0].start.Before(b.end) || !b.start.Before(spans[n-1].end) {
			continue
		}
		var left []span
		for _, o := range spans {
			if before := (span{o.start, earlier(o.end, b.start), o.zone}); before.start.Before(before.end) {
				left = append(left, before)
			}
			if after := (span{later(o.start, b.end), o.end, o.zone}); after.start.Before(after.end) {
				left = append(left, after)
			}
		}
		spans = left
	}
	return spans
}

// skipBlackout is t, or the end of the blackouts that t is in.
func (s *Schedule) skipBlackout(t time.Time) time.Time {
	for i := 0; i < len(s.blackouts); i++ {
		if b := s.blackouts[i]; b.contains(t) {
			t, i = b.end, -1 // another may contain the end
		}
	}
	return t
}

func (b *blackout) contains(t time.Time) bool { return !t.Before(b.start) && t.Before(b.end) }

func earlier(a, b time.Time) time.Time {
	return slices.MinFunc([]time.Time{a, b}, time.Time.Compare)
}

func later(a, b time.Time) time.Time {
	return slices.MaxFunc([]time.Time{a, b}, time.Time.Compare)
}

// lastBlackout is the blackout that contains t for the longest.
func (s *Schedule) lastBlackout(t time.Time) (blackout, bool) {
	var in []blackout
	for _, b := range s.blackouts {
		if b.contains(t) {
			in = append(in, b)
		}
	}
	if len(in) == 0 {
		return blackout{}, false
	}
	return slices.MaxFunc(in, func(a, b blackout) int {
		return cmp.Or(a.end.Compare(b.end), cmp.Compare(a.reason, b.reason))
	}), true
}
