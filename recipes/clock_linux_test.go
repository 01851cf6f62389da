package recipes

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestClockRunsWithTheBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := localClock()
		before := now()
		time.Sleep(time.Hour)
		// What may be added is the real time of two readings.
		if passed := now() - before; passed < time.Hour-time.Minute || passed > time.Hour+time.Minute {
			t.Errorf("an hour of the bubble is %v", passed)
		}
	})
}

// Every reading is a moment between the call's beginning and its end on CLOCK_BOOTTIME.
func TestClockIsBoottime(t *testing.T) {
	boottime := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			t.Skip(err)
		}
		return time.Duration(ts.Nano())
	}
	const rounding = time.Microsecond // a nanosecond or two, where the two clocks are scaled apart
	now := localClock()
	begin, first, end := boottime(), now(), boottime()
	for range 1000 {
		before, n, after := boottime(), now(), boottime()
		if passed := n - first; passed < before-end-rounding || passed > after-begin+rounding {
			t.Fatalf("%v passed; by CLOCK_BOOTTIME between %v and %v", passed, before-end, after-begin)
		}
	}
}
