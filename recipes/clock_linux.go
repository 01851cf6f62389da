package recipes

import (
	"time"

	"golang.org/x/sys/unix"
)

// localClock returns a clock that also counts the time the machine is suspended, which Go's monotonic clock leaves out:
// a lease runs on while its holder's machine sleeps. It is the package time's clock plus the time asleep, and so keeps to
// the fake one in a bubble of testing/synctest.
func localClock() func() time.Duration {
	start := time.Now()
	if _, err := suspended(); err != nil {
		return func() time.Duration { return time.Since(start) } // a kernel that does not tell
	}
	return func() time.Duration {
		// In this order: a pause in between makes the result a moment of the call all the same, not a later one.
		awake := time.Since(start)
		asleep, err := suspended()
		if err != nil {
			panic("recipes: CLOCK_BOOTTIME went away: " + err.Error())
		}
		return awake + asleep
	}
}

// suspended returns how long the machine has slept since it booted: the difference of the clock that counts that and the
// one that does not. A pause between the two readings adds to it.
func suspended() (time.Duration, error) {
	var monotonic, boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic); err != nil {
		return 0, err
	}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return 0, err
	}
	return time.Duration(boot.Nano() - monotonic.Nano()), nil
}
