// Package coordv1 is the coordination service on the wire: fenced locks,
// semaphores, elections and barriers for programs that are not written in Go.
package coordv1
