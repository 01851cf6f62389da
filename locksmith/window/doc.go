// Package window says when a machine may reboot: in its windows, outside of the
// blackouts, and only if the reboot is expected to end before either does.
//
// The package is pure. The time is an argument, and so are the machine's id and
// its local time zone; nothing is read but the zones' rules.
//
// A window opens at a time of day by the clocks of its zone and lasts for a
// length of elapsed time, so one of two hours is two hours long on every day.
// Where the clocks are changed:
//
//   - A start that the clocks skip is taken as the moment in which they skip it: a
//     window at 02:30 opens at 03:00 on the day on which 02:00 becomes 03:00.
//   - A start that comes twice is the first of the two. The window opens once.
//   - A day that a zone leaves out (Apia's 30 December 2011) has no window.
//
// A stretch of time in which windows allow the reboot and no blackout forbids it
// is an opening; windows that overlap or follow each other make one. The reboot
// may start at t if t and t plus the expected duration lie in the same opening.
// All intervals include their start and exclude their end.
//
// Jitter spreads the machines that one opening sets free. Each waits for a part
// of it that a hash of its id and of the opening's start decides: the same
// whenever it is asked, different from its neighbour's, and with another order of
// machines at each opening, so that none is always the last. Where an opening is
// too short for all of the jitter and the expected duration, the jitter shrinks:
// each machine has its moment in each opening. Without windows the machine may
// always reboot, and the jitter counts from the moment of the wish.
package window
