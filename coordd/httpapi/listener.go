package httpapi

import (
	"errors"
	"net"
	"sync"
	"time"
)

// preface begins every HTTP/2 connection in the clear (RFC 9113, section 3.4).
// gRPC clients send it at once; no HTTP/1 request begins with it.
const preface = "PRI * HTTP/2.0\r\n"

const (
	// peekTimeout is how long a client may take to show what it speaks.
	peekTimeout = 10 * time.Second
	// maxPeeking bounds the connections that have not shown it yet. Beyond it
	// new ones wait in the kernel's backlog.
	maxPeeking = 1024
)

// Splitter makes two listeners of one: connections that begin as HTTP/2 go to
// GRPC, all others to HTTP.
type Splitter struct {
	listener net.Listener
	grpc     *branch
	http     *branch
	peeking  chan struct{} // a token for each connection being looked at
	timeout  time.Duration

	closeOnce sync.Once
	closed    chan struct{}
	done      sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // being looked at; nil once closed
}

// NewSplitter takes over the listener. Run serves it, Close ends it.
func NewSplitter(l net.Listener) *Splitter { return newSplitter(l, peekTimeout, maxPeeking) }

func newSplitter(l net.Listener, timeout time.Duration, bound int) *Splitter {
	s := &Splitter{
		listener: l,
		peeking:  make(chan struct{}, bound),
		timeout:  timeout,
		closed:   make(chan struct{}),
		conns:    map[net.Conn]struct{}{},
	}
	s.grpc = &branch{splitter: s, conns: make(chan net.Conn)}
	s.http = &branch{splitter: s, conns: make(chan net.Conn)}
	return s
}

// GRPC is the listener of HTTP/2 connections. Closing it closes the Splitter.
func (s *Splitter) GRPC() net.Listener { return s.grpc }

// HTTP is the listener of all other connections. Closing it closes the Splitter.
func (s *Splitter) HTTP() net.Listener { return s.http }

// Run accepts connections until Close and returns nil, or until the listener
// fails and returns why. All that is then still undecided is closed.
func (s *Splitter) Run() error {
	defer s.done.Wait()
	defer s.Close()
	for {
		select {
		case s.peeking <- struct{}{}:
		case <-s.closed:
			return nil
		}
		conn, err := s.accept()
		if err != nil {
			select {
			case <-s.closed:
				return nil
			default:
				return err
			}
		}
		s.done.Go(func() {
			s.route(conn)
			<-s.peeking
		})
	}
}

// accept waits out errors that pass, as a lack of file descriptors.
func (s *Splitter) accept() (net.Conn, error) {
	for {
		conn, err := s.listener.Accept()
		var temporary interface{ Temporary() bool }
		if err == nil || !errors.As(err, &temporary) || !temporary.Temporary() {
			return conn, err
		}
		select {
		case <-time.After(acceptRetryInterval):
		case <-s.closed:
			return nil, net.ErrClosed
		}
	}
}

const acceptRetryInterval = 50 * time.Millisecond

// Close ends Run and both listeners. Connections that were handed out live on.
func (s *Splitter) Close() error {
	var err error
	s.closeOnce.Do(func() {
		close(s.closed)
		err = s.listener.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for conn := range s.conns {
			conn.Close()
		}
		s.conns = nil
	})
	return err
}

// route looks at the first bytes of a connection and hands it on.
func (s *Splitter) route(conn net.Conn) {
	if !s.track(conn) {
		conn.Close()
		return
	}
	seen, isHTTP2, err := peek(conn, s.timeout)
	s.untrack(conn)
	if err != nil {
		conn.Close()
		return
	}
	to := s.http
	if isHTTP2 {
		to = s.grpc
	}
	select {
	case to.conns <- &peekedConn{Conn: conn, seen: seen}:
	case <-s.closed:
		conn.Close()
	}
}

func (s *Splitter) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *Splitter) untrack(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// peek reads until it is clear whether the connection begins with the preface.
func peek(conn net.Conn, timeout time.Duration) (seen []byte, isHTTP2 bool, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, false, err
	}
	buffer := make([]byte, len(preface))
	for len(seen) < len(preface) && string(seen) == preface[:len(seen)] {
		n, err := conn.Read(buffer[len(seen):])
		seen = buffer[:len(seen)+n]
		if err != nil && n == 0 {
			return nil, false, err
		}
	}
	return seen, string(seen) == preface, conn.SetReadDeadline(time.Time{})
}

// peekedConn is a connection whose first bytes have been read already.
type peekedConn struct {
	net.Conn
	seen []byte // not yet read again; owned by the one reader
}

func (c *peekedConn) Read(p []byte) (int, error) {
	if len(c.seen) > 0 {
		n := copy(p, c.seen)
		if c.seen = c.seen[n:]; len(c.seen) == 0 {
			c.seen = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// branch is one of a Splitter's two listeners.
type branch struct {
	splitter *Splitter
	conns    chan net.Conn
}

func (b *branch) Accept() (net.Conn, error) {
	select {
	case conn := <-b.conns:
		return conn, nil
	case <-b.splitter.closed:
		return nil, net.ErrClosed
	}
}

func (b *branch) Addr() net.Addr { return b.splitter.listener.Addr() }
func (b *branch) Close() error   { return b.splitter.Close() }
