package health

import (
	"strings"
	"testing"
	"time"
)

var booted = time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)

// report is one check that has found an instance, or has not passed.
func report(instance string) Report {
	if instance == "" {
		return Report{Results: []Result{{Name: "unit x.service", Error: "is failed"}}}
	}
	return Report{Passed: true, Results: []Result{{Name: "unit x.service", Instance: instance}}}
}

func TestWatch(t *testing.T) {
	type look struct {
		at       time.Duration // after the boot
		instance string        // "": not passed
		want     State
		why      string
	}
	for name, c := range map[string]struct {
		stable, deadline time.Duration
		looks            []look
	}{
		"stable after a while": {10 * time.Second, time.Minute, []look{
			{5 * time.Second, "", Checking, "unit x.service: is failed"},
			{7 * time.Second, "a", Checking, "all checks pass, for 0s of 10s"},
			{16 * time.Second, "a", Checking, "for 9s of 10s"},
			{17 * time.Second, "a", Healthy, ""},
		}},
		"at once": {0, time.Minute, []look{{time.Second, "a", Healthy, ""}}},
		"a break begins it anew": {10 * time.Second, time.Minute, []look{
			{5 * time.Second, "a", Checking, ""},
			{14 * time.Second, "", Checking, "is failed"},
			{15 * time.Second, "a", Checking, "for 0s"},
			{24 * time.Second, "a", Checking, ""},
			{25 * time.Second, "a", Healthy, ""},
		}},
		"a restart between two looks does too": {10 * time.Second, time.Minute, []look{
			{5 * time.Second, "a", Checking, ""},
			{15 * time.Second, "b", Checking, "for 0s"},
			{25 * time.Second, "b", Healthy, ""},
		}},
		"fails at the deadline, and is repaired": {10 * time.Second, time.Minute, []look{
			{59 * time.Second, "", Checking, ""},
			{60 * time.Second, "", Failed, "not healthy 1m0s after the boot: unit x.service: is failed"},
			{time.Hour, "a", Failed, "not healthy 1h0m0s after the boot: all checks pass, for 0s of 10s"},
			{time.Hour + 5*time.Second, "", Failed, "not healthy 1h0m5s"},
			{2 * time.Hour, "a", Failed, ""},
			{2*time.Hour + 10*time.Second, "a", Healthy, ""},
		}},
		"passing at the deadline has its time": {10 * time.Second, time.Minute, []look{
			{59 * time.Second, "a", Checking, ""},
			{61 * time.Second, "a", Checking, ""},
			{62 * time.Second, "", Failed, ""},
		}},
		"nobody could look before the deadline": {10 * time.Second, time.Minute, []look{
			{time.Hour, "a", Checking, "for 0s"},
			{time.Hour + 9*time.Second, "a", Checking, "for 9s"},
			{time.Hour + 10*time.Second, "a", Healthy, ""},
		}},
		"nobody could look before, and it does not last": {10 * time.Second, time.Minute, []look{
			{time.Hour, "a", Checking, "for 0s"},
			{time.Hour + 9*time.Second, "b", Failed, "not healthy 1h0m9s after the boot"},
		}},
		"nobody could look before, and it is not well": {10 * time.Second, time.Minute, []look{{time.Hour, "", Failed, ""}}},
		"restarts for ever": {10 * time.Second, time.Minute, []look{
			{59 * time.Second, "a", Checking, ""},
			{61 * time.Second, "b", Failed, "not healthy 1m1s after the boot: all checks pass, for 0s of 10s"},
			{63 * time.Second, "c", Failed, ""},
			{73 * time.Second, "c", Healthy, ""},
		}},
		"no deadline": {10 * time.Second, 0, []look{{24 * time.Hour, "", Checking, ""}}},
		"a clock that is set back": {10 * time.Second, time.Minute, []look{
			{30 * time.Second, "a", Checking, ""},
			{-time.Hour, "a", Checking, "for 0s"},
			{-time.Hour + 10*time.Second, "a", Healthy, ""},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWatch(&Config{StableFor: c.stable, Deadline: c.deadline}, booted)
			for _, l := range c.looks {
				v := w.Observe(booted.Add(l.at), report(l.instance))
				if v.State != l.want || !strings.Contains(v.Why, l.why) || v.Passing.IsZero() != (l.instance == "") {
					t.Errorf("after %v: %+v, want %s %q", l.at, v, l.want, l.why)
				}
			}
		})
	}
}
