// Package health says whether a machine that was booted is in order again.
//
// [Checks] look: at the service manager, at named units, over HTTP and TCP, and by
// running programs. All look at the same time, each within its own bounds, and make
// one [Report]. [Watch] judges a sequence of reports and is pure: a machine is
// healthy when everything has passed for a while without a break, and its return
// has failed when that has not begun by a deadline after the boot. A failed return
// is not the end: who repairs the machine makes it healthy.
package health
