package window

import (
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // no test depends on the host's
)

func load(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func schedule(t *testing.T, c Config) *Schedule {
	t.Helper()
	s, err := New(c, "machine-1", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

// moments are in RFC 3339. With next it is closed at now, else open; an empty until is the zero time.
type moments struct{ now, until, next string }

func (m moments) check(t *testing.T, s *Schedule) {
	t.Helper()
	v := s.At(at(t, m.now), time.Time{})
	want := Verdict{Open: m.next == ""}
	if m.until != "" {
		want.Until = at(t, m.until)
	}
	if m.next != "" {
		want.Next = at(t, m.next)
	}
	if v.Open != want.Open || !v.Until.Equal(want.Until) || !v.Next.Equal(want.Next) {
		t.Errorf("at %s: %+v, want open %t until %q next %q", m.now, v, want.Open, m.until, m.next)
	}
}

func TestSchedule(t *testing.T) {
	night := Window{Start: "22:00", Length: 4 * time.Hour}
	for name, test := range map[string]struct {
		config Config
		want   []moments
	}{
		"always": {Config{}, []moments{{now: "2026-11-21T12:00:00Z"}}},
		"across midnight": {Config{Windows: []Window{night}}, []moments{
			{now: "2026-11-21T21:59:59Z", next: "2026-11-21T22:00:00Z"},
			{now: "2026-11-21T22:00:00Z", until: "2026-11-22T02:00:00Z"},
			{now: "2026-11-22T01:59:59Z", until: "2026-11-22T02:00:00Z"},
			{now: "2026-11-22T02:00:00Z", next: "2026-11-22T22:00:00Z"},
		}},
		"across the week's end": {Config{Windows: []Window{{Days: []string{"Sat", "sunday"}, Start: "23:00", Length: 26 * time.Hour}}}, []moments{
			{now: "2026-11-21T22:59:00Z", next: "2026-11-21T23:00:00Z"},
			{now: "2026-11-22T12:00:00Z", until: "2026-11-24T01:00:00Z"},
			{now: "2026-11-24T01:00:00Z", next: "2026-11-28T23:00:00Z"},
		}},
		"windows that follow each other are one opening": {Config{ExpectedDuration: 3 * time.Hour, Windows: []Window{
			night, {Start: "02:00", Length: 4 * time.Hour},
		}}, []moments{{now: "2026-11-22T01:00:00Z", until: "2026-11-22T03:00:00Z"}}},
		"a whole week": {Config{Windows: []Window{{Days: []string{"wed"}, Start: "12:00", Length: MaxLength}}}, []moments{
			{now: "2026-11-21T12:00:00Z"},
		}},
		"expected duration": {Config{ExpectedDuration: time.Hour, Windows: []Window{night}}, []moments{
			{now: "2026-11-22T00:59:59Z", until: "2026-11-22T01:00:00Z"},
			{now: "2026-11-22T01:00:00Z", next: "2026-11-22T22:00:00Z"},
		}},
		"expected duration before a blackout": {Config{ExpectedDuration: time.Hour, Windows: []Window{night}, Blackouts: []Blackout{
			{From: "2026-11-21 23:30", To: "2026-11-22 00:30"}, {From: "2026-11-22 01:00", To: "2026-11-23"},
		}}, []moments{
			{now: "2026-11-21T22:29:59Z", until: "2026-11-21T22:30:00Z"},
			{now: "2026-11-21T22:30:00Z", next: "2026-11-23T00:00:00Z"},
			{now: "2026-11-22T00:45:00Z", next: "2026-11-23T00:00:00Z"},
		}},
		"blackouts alone": {Config{Blackouts: []Blackout{
			{From: "2026-12-20", To: "2027-01-02", Zone: "Europe/Berlin"}, {From: "2027-01-01T00:00:00Z", To: "2027-01-03T12:00:00+12:00"},
		}}, []moments{
			{now: "2026-12-19T22:59:59Z", until: "2026-12-19T23:00:00Z"},
			{now: "2026-12-19T23:00:00Z", next: "2027-01-03T00:00:00Z"},
			{now: "2027-01-03T00:00:00Z"},
		}},
		"a blackout of a thousand years": {Config{Windows: []Window{night}, Blackouts: []Blackout{{From: "2026-01-01", To: "3026-01-01"}}}, []moments{
			{now: "2026-11-21T22:00:00Z", next: "3026-01-01T00:00:00Z"},
		}},
		"Berlin skips 02:30": {Config{Windows: []Window{{Start: "02:30", Length: time.Hour, Zone: "Europe/Berlin"}}}, []moments{
			{now: "2026-03-29T00:59:59Z", next: "2026-03-29T01:00:00Z"},
			{now: "2026-03-29T01:00:00Z", until: "2026-03-29T02:00:00Z"}, // 03:00 to 04:00 CEST
			{now: "2026-03-29T02:00:00Z", next: "2026-03-30T00:30:00Z"},
		}},
		"Berlin has 02:30 twice": {Config{Windows: []Window{{Start: "02:30", Length: time.Hour, Zone: "Europe/Berlin"}}}, []moments{
			{now: "2026-10-25T00:29:59Z", next: "2026-10-25T00:30:00Z"},
			{now: "2026-10-25T00:30:00Z", until: "2026-10-25T01:30:00Z"}, // 02:30 CEST to 02:30 CET
			{now: "2026-10-25T01:30:00Z", next: "2026-10-26T01:30:00Z"},
		}},
		"New York": {Config{Windows: []Window{{Start: "01:30", Length: 2 * time.Hour, Zone: "America/New_York"}}}, []moments{
			{now: "2026-03-08T06:30:00Z", until: "2026-03-08T08:30:00Z"}, // to 04:30 EDT
			{now: "2026-03-08T08:30:00Z", next: "2026-03-09T05:30:00Z"},
			{now: "2026-11-01T05:30:00Z", until: "2026-11-01T07:30:00Z"}, // 01:30 EDT to 02:30 EST
			{now: "2026-11-01T07:30:00Z", next: "2026-11-02T06:30:00Z"},
		}},
		"Lord Howe's half hour": {Config{Windows: []Window{{Start: "01:45", Length: 20 * time.Minute, Zone: "Australia/Lord_Howe"}, {Start: "02:10", Length: 20 * time.Minute, Zone: "Australia/Lord_Howe"}}}, []moments{
			{now: "2026-04-04T14:45:00Z", until: "2026-04-04T15:05:00Z"}, // the first 01:45
			{now: "2026-04-04T15:15:00Z", next: "2026-04-04T15:40:00Z"},  // at the second nothing
			{now: "2026-10-03T15:15:00Z", until: "2026-10-03T15:50:00Z"}, // 02:10 is skipped: 02:30, which meets the first
		}},
		"Apia leaves a Friday out": {Config{Windows: []Window{{Days: []string{"fri"}, Start: "12:00", Length: time.Hour, Zone: "Pacific/Apia"}}}, []moments{
			{now: "2011-12-29T00:00:00Z", next: "2012-01-05T22:00:00Z"},
		}},
		"the last day of a leap year, far away": {Config{Windows: []Window{{Days: []string{"mon"}, Start: "02:00", Length: time.Hour, Zone: "Europe/Berlin"}}}, []moments{
			{now: "2040-12-30T00:00:00Z", next: "2040-12-31T01:00:00Z"},
			{now: "2040-12-31T01:30:00Z", until: "2040-12-31T02:00:00Z"},
		}},
		"a blackout from and to times that come twice": {Config{Blackouts: []Blackout{{From: "2026-10-25 02:10", To: "2026-10-25 02:20", Zone: "Europe/Berlin"}}}, []moments{
			{now: "2026-10-25T00:10:00Z", next: "2026-10-25T01:20:00Z"},
		}},
		"a blackout of a day that Apia leaves out": {Config{Blackouts: []Blackout{{From: "2011-12-29", To: "2011-12-30", Zone: "Pacific/Apia"}}}, []moments{
			{now: "2011-12-29T10:00:00Z", next: "2011-12-30T10:00:00Z"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := schedule(t, test.config)
			for _, m := range test.want {
				m.check(t, s)
			}
		})
	}
}

func TestWhy(t *testing.T) {
	c := Config{
		ExpectedDuration: 10 * time.Minute,
		Windows:          []Window{{Days: []string{"sat"}, Start: "02:00", Length: 2 * time.Hour, Zone: "Europe/Berlin"}},
		Blackouts:        []Blackout{{From: "2026-12-20", To: "2027-01-02", Zone: "Europe/Berlin", Reason: "the year's end"}},
	}
	for now, want := range map[string]string{
		"2026-11-27T21:50:00Z": "closed: outside of the windows; opens Sat 2026-11-28 02:00 CET (Europe/Berlin), in 3h10m",
		"2026-11-28T01:00:00Z": "open: a reboot may start until Sat 2026-11-28 03:50 CET (Europe/Berlin)",
		"2026-11-28T02:50:00Z": "closed: a reboot takes 10m, and what is left ends Sat 2026-11-28 04:00 CET (Europe/Berlin); opens Sat 2026-12-05 02:00 CET (Europe/Berlin), in 166h10m",
		"2027-01-01T23:00:00Z": "closed: outside of the windows; opens Sat 2027-01-02 02:00 CET (Europe/Berlin), in 2h",
		"2026-12-24T17:00:00Z": "closed: blackout (the year's end) until Sat 2027-01-02 00:00 CET (Europe/Berlin); opens Sat 2027-01-02 02:00 CET (Europe/Berlin), in 200h",
	} {
		if got := schedule(t, c).At(at(t, now), time.Time{}).Why; got != want {
			t.Errorf("at %s:\n%s, want\n%s", now, got, want)
		}
	}
	if got := schedule(t, Config{}).At(at(t, "2026-11-28T01:00:00Z"), time.Time{}).Why; got != "open" {
		t.Errorf("without windows: %s", got)
	}
}

// TestLocal: what names no zone goes by the machine's.
func TestLocal(t *testing.T) {
	c := Config{Windows: []Window{{Start: "02:00", Length: time.Hour}}, Blackouts: []Blackout{{From: "2026-11-22", To: "2026-11-23"}}}
	s, err := New(c, "m", load(t, "Asia/Tokyo"))
	if err != nil {
		t.Fatal(err)
	}
	moments{now: "2026-11-20T16:59:59Z", next: "2026-11-20T17:00:00Z"}.check(t, s)
	moments{now: "2026-11-21T17:00:00Z", next: "2026-11-22T17:00:00Z"}.check(t, s)
}

func TestJitter(t *testing.T) {
	c := Config{Jitter: time.Hour, ExpectedDuration: 10 * time.Minute, Windows: []Window{{Start: "02:00", Length: 4 * time.Hour}}}
	before := at(t, "2026-11-21T00:00:00Z")
	opening := at(t, "2026-11-21T02:00:00Z")
	const machines = 1000
	var tenths [10]int
	others := 0
	for i := range machines {
		s, err := New(c, fmt.Sprintf("machine-%d", i), time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		v := s.At(before, time.Time{})
		delay := v.Next.Sub(opening)
		if v.Open || delay < 0 || delay >= time.Hour {
			t.Fatalf("machine %d: %+v", i, v)
		}
		tenths[int(delay/(6*time.Minute))]++
		if again := s.At(opening, opening); delay > 0 && !again.Next.Equal(v.Next) {
			t.Fatalf("machine %d: asked later it is %v, was %v", i, again.Next, v.Next)
		}
		if next := s.At(v.Next, time.Time{}); !next.Open || !next.Until.Equal(at(t, "2026-11-21T05:50:00Z")) {
			t.Fatalf("machine %d at its own time: %+v", i, next)
		}
		tomorrow := s.At(before.AddDate(0, 0, 1), time.Time{}).Next.Sub(opening.AddDate(0, 0, 1))
		if delay != tomorrow {
			others++
		}
	}
	for i, n := range tenths {
		if n < machines/10-40 || n > machines/10+40 { // over four standard deviations
			t.Errorf("tenth %d of the jitter has %d of %d machines: %v", i, n, machines, tenths)
		}
	}
	if others < machines*9/10 {
		t.Errorf("%d of %d machines have another turn on the next day", others, machines)
	}
}

// TestJitterLeavesRoom: a blackout leaves half an hour of the window, and everybody has its moment in it.
func TestJitterLeavesRoom(t *testing.T) {
	c := Config{Jitter: 2 * time.Hour, ExpectedDuration: 10 * time.Minute, Windows: []Window{{Start: "02:00", Length: 4 * time.Hour}},
		Blackouts: []Blackout{{From: "2026-11-21 02:30", To: "2026-11-21 12:00"}}}
	last := time.Duration(0)
	for i := range 200 {
		s, err := New(c, fmt.Sprintf("machine-%d", i), time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		v := s.At(at(t, "2026-11-21T00:00:00Z"), time.Time{})
		delay := v.Next.Sub(at(t, "2026-11-21T02:00:00Z"))
		if delay >= 20*time.Minute || !s.At(v.Next, time.Time{}).Open {
			t.Fatalf("machine %d: %+v", i, v)
		}
		last = max(last, delay)
	}
	if last < 15*time.Minute {
		t.Errorf("the last machine waits %v: the room is not used", last)
	}
}

// TestJitterOfTheWish: without windows the wait counts from the wish, or from the end of a blackout.
func TestJitterOfTheWish(t *testing.T) {
	s := schedule(t, Config{Jitter: time.Hour, Blackouts: []Blackout{{From: "2026-11-25", To: "2026-11-26"}}})
	wished := at(t, "2026-11-21T12:00:00Z")
	v := s.At(wished, wished)
	if wait := v.Next.Sub(wished); v.Open || wait <= 0 || wait >= time.Hour {
		t.Fatalf("at the wish: %+v", v)
	}
	if !strings.Contains(v.Why, "jitter") {
		t.Errorf("why: %s", v.Why)
	}
	if s.At(v.Next.Add(-time.Second), wished).Open || !s.At(v.Next, wished).Open {
		t.Errorf("it does not open at %v", v.Next)
	}
	later := wished.Add(time.Hour)
	if got := s.At(later, later).Next.Sub(later); got != v.Next.Sub(wished) {
		t.Errorf("after a new wish the wait is %v, was %v", got, v.Next.Sub(wished))
	}
	if !s.At(wished, time.Time{}).Open || !s.At(wished, wished.AddDate(9, 0, 0)).Open {
		t.Error("no wish, or one of the future, made it wait")
	}
	free := at(t, "2026-11-26T00:00:00Z")
	if next := s.At(free.Add(-time.Minute), wished).Next; next.Before(free) || !next.Before(free.Add(time.Hour)) {
		t.Errorf("after the blackout it opens %v", next)
	}
}

// TestYear: an agent that looks every five minutes through a year finds each of the 52 windows, and each for as long
// as it is, whatever the clocks do.
func TestYear(t *testing.T) {
	s := schedule(t, Config{Windows: []Window{{Days: []string{"sun"}, Start: "02:00", Length: 2 * time.Hour, Zone: "Europe/Berlin"}}})
	start, ticks, openings, was := at(t, "2026-01-01T00:00:00Z"), 0, 0, false
	for now := start; now.Before(start.AddDate(1, 0, 0)); now = now.Add(5 * time.Minute) {
		open := s.At(now, time.Time{}).Open
		if open {
			ticks++
		}
		if open && !was {
			openings++
		}
		was = open
	}
	if openings != 52 || ticks != 52*24 {
		t.Errorf("%d windows, open at %d looks, want 52 and %d", openings, ticks, 52*24)
	}
}
