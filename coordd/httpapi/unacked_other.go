//go:build !linux

package httpapi

import "net"

// boundUnacked does nothing where the kernel has no such bound.
func boundUnacked(net.Conn) error { return nil }
