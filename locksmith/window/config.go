package window

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

const (
	// MaxLength bounds a window's length: a week, after which it would meet itself.
	MaxLength = 7 * 24 * time.Hour
	// MaxJitter bounds the jitter.
	MaxJitter = 24 * time.Hour
	// MaxWindows and MaxBlackouts bound the lists.
	MaxWindows, MaxBlackouts = 100, 1000

	maxReasonBytes = 256
)

// Config says when a reboot may start.
type Config struct {
	Windows          []Window      `yaml:"windows"`           // none: always, but for the blackouts
	Blackouts        []Blackout    `yaml:"blackouts"`         // when it may not, whatever the windows say
	ExpectedDuration time.Duration `yaml:"expected_duration"` // from the start of the reboot until all is well; 0: does not matter
	Jitter           time.Duration `yaml:"jitter"`            // 0 to 24h: each machine waits for a part of it after an opening
}

// Window is a stretch of time that comes back each day or on some days of the week.
type Window struct {
	Days   []string      `yaml:"days"`   // on which it starts: mon, Monday, …; none: every day
	Start  string        `yaml:"start"`  // time of day as 22:30
	Length time.Duration `yaml:"length"` // of elapsed time; longer than the expected duration, at most 7 days
	Zone   string        `yaml:"zone"`   // IANA name as Europe/Berlin; empty: the machine's own
}

// Blackout is a stretch of time without reboots.
type Blackout struct {
	From   string `yaml:"from"`   // 2026-12-20, 2026-12-20 18:00 or RFC 3339; a day is its beginning
	To     string `yaml:"to"`     // the same; the first moment that is free again
	Zone   string `yaml:"zone"`   // IANA name; empty: the machine's own. RFC 3339 brings its own
	Reason string `yaml:"reason"` // for people; one line
}

// Defaults allow a reboot at any time. A window that is set ends reboots five
// minutes before it does.
func (c *Config) Defaults() {
	*c = Config{Windows: []Window{}, Blackouts: []Blackout{}, ExpectedDuration: 5 * time.Minute}
}

// Validate names all that is wrong with c, or is nil.
func (c *Config) Validate() error {
	_, err := New(*c, "", time.UTC)
	return err
}

// New makes the schedule of one machine. local is the zone of windows and
// blackouts that name none. The error joins one for each wrong setting.
func New(c Config, machineID string, local *time.Location) (*Schedule, error) {
	s := &Schedule{machineID: machineID, local: local, expected: c.ExpectedDuration, jitter: c.Jitter}
	var errs []error
	if c.ExpectedDuration < 0 || c.ExpectedDuration >= MaxLength {
		errs = append(errs, fmt.Errorf("expected_duration: %v must not be negative and must be shorter than %v", c.ExpectedDuration, MaxLength))
	}
	if c.Jitter < 0 || c.Jitter > MaxJitter {
		errs = append(errs, fmt.Errorf("jitter: %v must be from 0s to %v", c.Jitter, MaxJitter))
	}
	if len(c.Windows) > MaxWindows {
		errs = append(errs, fmt.Errorf("windows: %d of them are too many, %d are allowed", len(c.Windows), MaxWindows))
	}
	if len(c.Blackouts) > MaxBlackouts {
		errs = append(errs, fmt.Errorf("blackouts: %d of them are too many, %d are allowed", len(c.Blackouts), MaxBlackouts))
	}
	for i := range c.Windows {
		w, err := c.Windows[i].compile(fmt.Sprintf("windows[%d]", i), local, c.ExpectedDuration)
		s.windows, errs = append(s.windows, w), append(errs, err)
	}
	for i := range c.Blackouts {
		b, err := c.Blackouts[i].compile(fmt.Sprintf("blackouts[%d]", i), local)
		s.blackouts, errs = append(s.blackouts, b), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

func (w *Window) compile(setting string, local *time.Location, expected time.Duration) (recurrence, error) {
	r := recurrence{length: w.Length}
	var errs []error
	for i, name := range w.Days {
		day, ok := weekday(name)
		if !ok {
			errs = append(errs, fmt.Errorf("%s.days[%d]: %q is no day of the week, as mon or Monday", setting, i, name))
		}
		r.days[day] = true
	}
	if len(w.Days) == 0 {
		r.days = [7]bool{true, true, true, true, true, true, true}
	}
	var err error
	if r.hour, r.minute, err = timeOfDay(w.Start); err != nil {
		errs = append(errs, fmt.Errorf("%s.start: %w", setting, err))
	}
	switch {
	case w.Length <= 0 || w.Length > MaxLength:
		errs = append(errs, fmt.Errorf("%s.length: %v must be above 0s and at most %v", setting, w.Length, MaxLength))
	case w.Length <= expected:
		errs = append(errs, fmt.Errorf("%s.length: %v must be longer than expected_duration, %v: no reboot would fit", setting, w.Length, expected))
	}
	if r.zone, err = zone(w.Zone, local); err != nil {
		errs = append(errs, fmt.Errorf("%s.zone: %w", setting, err))
	}
	return r, errors.Join(errs...)
}

func (b *Blackout) compile(setting string, local *time.Location) (blackout, error) {
	loc, err := zone(b.Zone, local)
	if err != nil {
		return blackout{}, fmt.Errorf("%s.zone: %w", setting, err)
	}
	out := blackout{zone: loc, reason: b.Reason}
	var fromErr, toErr error
	// Of a time that comes twice the wider stretch is meant: better no reboot than a wrong one.
	if out.start, fromErr = moment(b.From, loc, firstOf); fromErr != nil {
		fromErr = fmt.Errorf("%s.from: %w", setting, fromErr)
	}
	if out.end, toErr = moment(b.To, loc, lastOf); toErr != nil {
		toErr = fmt.Errorf("%s.to: %w", setting, toErr)
	}
	if fromErr == nil && toErr == nil && !out.start.Before(out.end) {
		toErr = fmt.Errorf("%s.to: %s must be after from, %s; it is the first moment that is free again", setting, b.To, b.From)
	}
	var reasonErr error
	if len(b.Reason) > maxReasonBytes || strings.ContainsFunc(b.Reason, unicode.IsControl) {
		reasonErr = fmt.Errorf("%s.reason: it must be one line of at most %d bytes", setting, maxReasonBytes)
	}
	return out, errors.Join(fromErr, toErr, reasonErr)
}

// zone finds an IANA zone. "Local" is not one: what it means is for New's caller to say.
func zone(name string, local *time.Location) (*time.Location, error) {
	if name == "" {
		return local, nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("%q is no time zone, as Europe/Berlin or UTC", name)
	}
	return loc, nil
}

// weekday reads the name of a day, or its first three letters.
func weekday(name string) (time.Weekday, bool) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if full := day.String(); strings.EqualFold(name, full) || strings.EqualFold(name, full[:3]) {
			return day, true
		}
	}
	return 0, false
}

// timeOfDay reads 22:30, and 2:05 as well.
func timeOfDay(text string) (hour, minute int, err error) {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, 0, fmt.Errorf("%q is no time of day, as 22:30", text)
	}
	return t.Hour(), t.Minute(), nil
}

// moment reads a day, a time by the clocks of a zone, or RFC 3339.
func moment(text string, loc *time.Location, pick which) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, checkYear(t)
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime} {
		if wall, err := time.Parse(layout, text); err == nil {
			t, _ := atWall(wall, loc, pick)
			return t, checkYear(wall)
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time, as 2026-12-20, 2026-12-20 18:00 or 2026-12-20T18:00:00+01:00", text)
}

func checkYear(t time.Time) error {
	if t.Year() < 1970 || t.Year() > 9000 {
		return fmt.Errorf("the year %d is out of range", t.Year())
	}
	return nil
}

// ParseCoreOS reads a window as CoreOS's and Flatcar's locksmith has it in
// REBOOT_WINDOW_START, "Thu 23:00" or "23:00", and REBOOT_WINDOW_LENGTH, "1h30m".
// It is in the machine's own zone, as it is there.
func ParseCoreOS(start, length string) (Window, error) {
	w := Window{}
	switch fields := strings.Fields(start); len(fields) {
	case 1:
		w.Start = fields[0]
	case 2:
		if _, ok := weekday(fields[0]); !ok {
			return Window{}, fmt.Errorf("start %q: %q is no day of the week, as Thu", start, fields[0])
		}
		w.Days, w.Start = fields[:1], fields[1]
	default:
		return Window{}, fmt.Errorf("start %q must be a time of day, or a day of the week and a time, as Thu 23:00", start)
	}
	if _, _, err := timeOfDay(w.Start); err != nil {
		return Window{}, fmt.Errorf("start %q: %w", start, err)
	}
	var err error
	if w.Length, err = time.ParseDuration(length); err != nil {
		return Window{}, fmt.Errorf("length %q must be a duration, as 1h30m", length)
	}
	return w, nil
}
