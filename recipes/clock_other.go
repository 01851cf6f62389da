//go:build !linux

package recipes

import "time"

// localClock returns a monotonic clock. Where it stands still while the machine is suspended, a holder that wakes up can
// believe itself valid for the time it slept: let the resource check tokens.
func localClock() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
