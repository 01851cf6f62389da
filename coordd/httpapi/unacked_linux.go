package httpapi

import (
	"net"

	"golang.org/x/sys/unix"
)

// boundUnacked lets the kernel give a connection up whose other end has not
// acknowledged what was sent for unackedTimeout, where it would try for a quarter
// of an hour: its host is gone and has not said so.
func boundUnacked(conn net.Conn) error {
	tcp, ok := tcpOf(conn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedTimeout.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
