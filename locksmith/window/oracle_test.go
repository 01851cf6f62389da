package window

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// allowed is the naive meaning of a schedule without jitter: it walks through a stretch minute by minute, as
// somebody does who looks at a clock of the zone, and marks what the windows allow and no blackout forbids.
func allowed(c Config, start time.Time, minutes int) []bool {
	const before = 9 * 24 * 60 // windows that began earlier
	out := make([]bool, minutes)
	if len(c.Windows) == 0 {
		for i := range out {
			out[i] = true
		}
	}
	for _, w := range c.Windows {
		loc, _ := time.LoadLocation(w.Zone)
		opened, left := map[string]bool{}, 0
		for i := -before; i < minutes; i++ {
			wall := start.Add(time.Duration(i) * time.Minute).In(loc)
			date, today := wall.Format(time.DateOnly), len(w.Days) == 0
			for _, day := range w.Days {
				today = today || wall.Format("Mon") == day
			}
			if today && wall.Format("15:04") >= w.Start && !opened[date] {
				opened[date] = true
				left = max(left, int(w.Length/time.Minute)) // those of one window may overlap
			}
			if left > 0 && i >= 0 {
				out[i] = true
			}
			left--
		}
	}
	for _, b := range c.Blackouts {
		from, _ := time.Parse(time.RFC3339, b.From)
		to, _ := time.Parse(time.RFC3339, b.To)
		for i := range out {
			if now := start.Add(time.Duration(i) * time.Minute); !now.Before(from) && now.Before(to) {
				out[i] = false
			}
		}
	}
	return out
}

// fits tells at which minutes a reboot may start: when it is allowed from then until the expected duration has passed.
func fits(allowed []bool, expected time.Duration) []bool {
	out := make([]bool, len(allowed))
	run := 0
	for i := len(allowed) - 1; i >= 0; i-- {
		if run++; !allowed[i] {
			run = 0
		}
		out[i] = run > int(expected/time.Minute)
	}
	return out
}

// changes are times around which the clocks of some zone are changed.
func changes() []string {
	return []string{
		"2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z", // Europe
		"2026-03-08T06:00:00Z", "2026-11-01T06:00:00Z", // New York
		"2026-04-04T15:00:00Z", "2026-10-03T15:00:00Z", // Lord Howe
		"2011-12-30T10:00:00Z",                         // Apia
		"2010-11-07T02:31:00Z", "2011-03-13T03:31:00Z", // St. John's, at 00:01
		"2018-11-04T03:00:00Z",                         // São Paulo, at midnight
		"2040-12-31T00:00:00Z",                         // time.ZoneBounds is wrong there
		"2024-02-29T00:00:00Z", "2026-12-31T00:00:00Z", // a leap day, the year's end
	}
}

func randomConfig(r *rand.Rand, start time.Time) Config {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	c := Config{ExpectedDuration: time.Duration(r.IntN(4)*r.IntN(40)) * time.Minute}
	for range r.IntN(4) {
		w := Window{
			Start:  fmt.Sprintf("%02d:%02d", r.IntN(24), r.IntN(60)),
			Length: c.ExpectedDuration + time.Duration(1+r.IntN(300))*time.Minute,
			Zone: pick("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia",
				"America/St_Johns", "America/Sao_Paulo", "Asia/Kathmandu"),
		}
		if r.IntN(2) == 0 {
			w.Start = pick("00:00", "02:00", "02:15", "02:30", "01:30", "01:45", "23:30", "00:30")
		}
		if r.IntN(5) == 0 {
			w.Length = time.Duration(24*60+r.IntN(6*24*60)) * time.Minute
		}
		for range r.IntN(3) {
			w.Days = append(w.Days, pick("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
		}
		c.Windows = append(c.Windows, w)
	}
	for range r.IntN(3) {
		from := start.Add(time.Duration(r.IntN(5*24*60)) * time.Minute)
		c.Blackouts = append(c.Blackouts, Blackout{
			From: from.Format(time.RFC3339),
			To:   from.Add(time.Duration(1+r.IntN(24*60)) * time.Minute).Format(time.RFC3339),
		})
	}
	return c
}

// compare walks through five days and reports the first minute at which the schedule and the oracle differ.
func compare(c Config, s *Schedule, start time.Time) error {
	const days, further = 5, 9
	may := fits(allowed(c, start, (days+further)*24*60), c.ExpectedDuration)
	next := len(may) // the next minute at which the oracle allows a reboot, from i on
	for i := len(may) - 1; i >= 0; i-- {
		if may[i] {
			next = i
		}
		if i >= days*24*60 {
			continue
		}
		now := start.Add(time.Duration(i) * time.Minute)
		v := s.At(now, time.Time{})
		switch {
		case v.Open != may[i]:
			return fmt.Errorf("at %v: %+v, want open %t", now, v, may[i])
		case v.Open && !v.Until.IsZero() && (!v.Until.After(now) || s.At(v.Until, time.Time{}).Open || !s.At(v.Until.Add(-time.Second), time.Time{}).Open):
			return fmt.Errorf("at %v: until %v is not its end", now, v.Until)
		case !v.Open && next < len(may) && !v.Next.Equal(start.Add(time.Duration(next)*time.Minute)):
			return fmt.Errorf("at %v: opens %v, want %v", now, v.Next, start.Add(time.Duration(next)*time.Minute))
		case !v.Open && !v.Next.IsZero() && !s.At(v.Next, time.Time{}).Open:
			return fmt.Errorf("at %v: it is not open at %v", now, v.Next)
		}
	}
	return nil
}

func eachRandomConfig(t *testing.T, n int, f func(r *rand.Rand, c Config, start time.Time)) {
	seed := uint64(time.Now().UnixNano())
	for i := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, i))
		where := changes()
		start := at(t, where[r.IntN(len(where))]).Add(-time.Duration(r.IntN(4*24*60)) * time.Minute)
		f(r, randomConfig(r, start), start)
		if t.Failed() {
			t.Fatalf("seed %d, round %d", seed, i)
		}
	}
}

func TestAgainstOracle(t *testing.T) {
	eachRandomConfig(t, 12, func(_ *rand.Rand, c Config, start time.Time) {
		if err := compare(c, schedule(t, c), start); err != nil {
			t.Errorf("%v; of %+v", err, c)
		}
	})
}

// TestOracleFindsFaults: the comparison fails for schedules that are wrong by a little.
func TestOracleFindsFaults(t *testing.T) {
	start := at(t, "2026-03-27T00:00:00Z")
	c := Config{
		ExpectedDuration: 10 * time.Minute,
		Windows:          []Window{{Days: []string{"Sat", "Sun"}, Start: "02:30", Length: time.Hour, Zone: "Europe/Berlin"}},
		Blackouts:        []Blackout{{From: "2026-03-28T02:00:00Z", To: "2026-03-28T02:10:00Z"}},
	}
	if err := compare(c, schedule(t, c), start); err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]func(*Schedule){
		"ends a minute later":       func(s *Schedule) { s.windows[0].length += time.Minute },
		"expects a minute less":     func(s *Schedule) { s.expected -= time.Minute },
		"opens on another day":      func(s *Schedule) { s.windows[0].days[time.Friday] = true },
		"ignores the change":        func(s *Schedule) { s.windows[0].zone = time.FixedZone("CET", 3600) },
		"leaves the blackout early": func(s *Schedule) { s.blackouts[0].end = s.blackouts[0].end.Add(-time.Minute) },
	} {
		s := schedule(t, c)
		fault(s)
		if compare(c, s, start) == nil {
			t.Errorf("a schedule that %s passes", name)
		}
	}
}

// TestJitterOnlyDelays: with jitter it is open only where it is without, from a moment at most the jitter
// after each opening on and then until its end.
func TestJitterOnlyDelays(t *testing.T) {
	eachRandomConfig(t, 40, func(r *rand.Rand, c Config, start time.Time) {
		plain := schedule(t, c)
		c.Jitter = time.Duration(1+r.IntN(12*60)) * time.Minute
		s := schedule(t, c)
		for now, end := start, start.AddDate(0, 0, 5); now.Before(end); now = now.Add(7 * time.Minute) {
			v, without := s.At(now, time.Time{}), plain.At(now, time.Time{})
			switch {
			case v.Open && (!without.Open || !v.Until.Equal(without.Until)):
				t.Errorf("at %v: %+v, without jitter %+v; of %+v", now, v, without, c)
			case !v.Open && !s.At(v.Next, time.Time{}).Open:
				t.Errorf("at %v: it is not open at %v; of %+v", now, v.Next, c)
			case !v.Open && !without.Open && v.Next.Sub(without.Next) >= c.Jitter:
				t.Errorf("at %v: it opens %v, without jitter %v; of %+v", now, v.Next, without.Next, c)
			}
		}
	})
}
