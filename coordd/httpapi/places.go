package httpapi

import (
	"net"
	"sync"
	"time"
)

// Places are how many connections Splitters that share them may have open
// together; who comes then waits in the kernel's backlog. A process without a file
// descriptor left could not go on writing its log. nil is no bound.
type Places chan struct{}

// NewPlaces returns n places.
func NewPlaces(n int) Places { return make(Places, n) }

func (p Places) free() {
	if p != nil {
		<-p
	}
}

// seat makes a connection free its place when it is closed.
func (p Places) seat(conn net.Conn) net.Conn {
	if p == nil {
		return conn
	}
	return &seated{conn, sync.OnceFunc(p.free)}
}

// seated is a connection that has a place.
type seated struct {
	net.Conn
	leave func()
}

func (c *seated) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}

// awaitPlace takes a place for the next connection. It is false once the
// Splitter is closed.
func (s *Splitter) awaitPlace() bool {
	if s.places == nil {
		return true
	}
	select {
	case s.places <- struct{}{}:
		return true
	default:
	}
	if _, ok := s.rejected.admit(time.Now()); ok {
		s.rejected.log.Warn("as many connections are open as there are file descriptors for; new ones wait", "connections", cap(s.places))
	}
	select {
	case s.places <- struct{}{}:
		return true
	case <-s.closed:
		return false
	}
}
