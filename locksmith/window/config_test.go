package window

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	var c Config
	c.Defaults()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if v := schedule(t, c).At(time.Unix(0, 0), time.Time{}); !v.Open {
		t.Errorf("by default: %+v", v)
	}
}

// TestValidate: each wrong setting is named as the file spells it.
func TestValidate(t *testing.T) {
	window := func(change func(*Window)) Config {
		w := Window{Start: "22:30", Length: time.Hour}
		change(&w)
		return Config{ExpectedDuration: 10 * time.Minute, Windows: []Window{{Start: "1:00", Length: time.Hour, Days: []string{"Mon", "tuesday", "SUN"}, Zone: "UTC"}, w}}
	}
	blackout := func(b Blackout) Config { return Config{Blackouts: []Blackout{b}} }
	for _, test := range []struct {
		want   string
		config Config
	}{
		{"", window(func(*Window) {})},
		{"windows[1].start: ", window(func(w *Window) { w.Start = "" })},
		{"windows[1].start: ", window(func(w *Window) { w.Start = "24:00" })},
		{"windows[1].start: ", window(func(w *Window) { w.Start = "12:60" })},
		{"windows[1].start: ", window(func(w *Window) { w.Start = "-1:00" })},
		{"windows[1].start: ", window(func(w *Window) { w.Start = "2" })},
		{"windows[1].length: ", window(func(w *Window) { w.Length = 0 })},
		{"windows[1].length: ", window(func(w *Window) { w.Length = -time.Hour })},
		{"windows[1].length: ", window(func(w *Window) { w.Length = MaxLength + 1 })},
		{"windows[1].length: ", window(func(w *Window) { w.Length = 10 * time.Minute })},
		{"windows[1].zone: ", window(func(w *Window) { w.Zone = "Europe/Atlantis" })},
		{"windows[1].zone: ", window(func(w *Window) { w.Zone = "Local" })},
		{"windows[1].zone: ", window(func(w *Window) { w.Zone = "../../etc/passwd" })},
		{"windows[1].days[1]: ", window(func(w *Window) { w.Days = []string{"mon", "moonday"} })},
		{"windows[1].days[0]: ", window(func(w *Window) { w.Days = []string{""} })},
		{"expected_duration: ", Config{ExpectedDuration: -1}},
		{"expected_duration: ", Config{ExpectedDuration: MaxLength}},
		{"jitter: ", Config{Jitter: -1}},
		{"jitter: ", Config{Jitter: MaxJitter + 1}},
		{"windows: ", Config{Windows: slices.Repeat([]Window{{Start: "1:00", Length: time.Hour}}, MaxWindows+1)}},
		{"", blackout(Blackout{From: "2026-12-20", To: "2026-12-21 00:00:30"})},
		{"blackouts: ", Config{Blackouts: slices.Repeat([]Blackout{{From: "2026-12-20", To: "2026-12-21"}}, MaxBlackouts+1)}},
		{"blackouts[0].from: ", blackout(Blackout{To: "2026-12-20"})},
		{"blackouts[0].from: ", blackout(Blackout{From: "20 Dec 2026", To: "2026-12-21"})},
		{"blackouts[0].from: ", blackout(Blackout{From: "0001-01-01", To: "2026-12-21"})},
		{"blackouts[0].to: ", blackout(Blackout{From: "2026-12-20"})},
		{"blackouts[0].to: ", blackout(Blackout{From: "2026-12-20", To: "2026-02-30"})},
		{"blackouts[0].to: ", blackout(Blackout{From: "2026-12-20", To: "2026-12-20"})},
		{"blackouts[0].to: ", blackout(Blackout{From: "2026-12-21", To: "2026-12-20"})},
		{"blackouts[0].reason: ", blackout(Blackout{From: "2026-12-20", To: "2026-12-21", Reason: "a\nb"})},
		{"blackouts[0].reason: ", blackout(Blackout{From: "2026-12-20", To: "2026-12-21", Reason: strings.Repeat("x", 257)})},
		{"blackouts[0].zone: ", blackout(Blackout{From: "2026-12-20", To: "2026-12-21", Zone: "Nowhere"})},
	} {
		err := test.config.Validate()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
			t.Errorf("%+v: %v, want an error that begins with %q", test.config, err, test.want)
		}
	}
}

func TestValidateNamesAll(t *testing.T) {
	c := Config{Jitter: -1, Windows: []Window{{Start: "x"}}, Blackouts: []Blackout{{}}}
	err := c.Validate()
	for _, setting := range []string{"jitter: ", "windows[0].start: ", "windows[0].length: ", "blackouts[0].from: ", "blackouts[0].to: "} {
		if err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("%v, want %q among it", err, setting)
		}
	}
}

func TestParseCoreOS(t *testing.T) {
	for _, test := range []struct {
		start, length string
		want          Window
	}{
		{"14:00", "1h", Window{Start: "14:00", Length: time.Hour}},
		{"Thu 23:00", "1h30m", Window{Days: []string{"Thu"}, Start: "23:00", Length: 90 * time.Minute}},
		{"  sUn   0:05 ", "45m", Window{Days: []string{"sUn"}, Start: "0:05", Length: 45 * time.Minute}},
	} {
		got, err := ParseCoreOS(test.start, test.length)
		if err != nil || !slices.Equal(got.Days, test.want.Days) || got.Start != test.want.Start || got.Length != test.want.Length || got.Zone != "" {
			t.Errorf("%q, %q: %+v, %v, want %+v", test.start, test.length, got, err, test.want)
		}
		if _, err := New(Config{Windows: []Window{got}}, "m", time.UTC); err != nil {
			t.Errorf("%+v: %v", got, err)
		}
	}
	for _, test := range [][2]string{
		{"", "1h"}, {"14:00", ""}, {"14:00", "60"}, {"Thu", "1h"}, {"Xyz 14:00", "1h"},
		{"Thu 14:00 CET", "1h"}, {"25:00", "1h"}, {"14:00x", "1h"}, {"Thu-Fri 14:00", "1h"},
	} {
		if got, err := ParseCoreOS(test[0], test[1]); err == nil {
			t.Errorf("%q, %q: %+v, want an error", test[0], test[1], got)
		}
	}
}
