package recipes

import (
	"time"

	"golang.org/x/sys/unix"
)

// localClock returns a clock that also counts the time the machine is suspended, which Go's monotonic clock leaves out:
// a lease runs on while its holder's machine sleeps.
func localClock() func() time.Duration {
	start := time.Now()
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return func() time.Duration { return time.Since(start) }
	}
	return func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			panic("recipes: CLOCK_BOOTTIME went away: " + err.Error())
		}
		return time.Duration(ts.Nano())
	}
}
