package coordtest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// network is all connections between clients and the server, in memory. What is written waits without a bound until it is
// read; HTTP/2's flow control bounds what gRPC writes ahead. Waiting is for changed, which is a durable block in a bubble
// of testing/synctest.
type network struct {
	mu       sync.Mutex
	changed  *sync.Cond
	closed   bool
	paused   bool
	incoming []*conn // dialled and not accepted yet
}

func newNetwork() *network {
	n := &network{}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// set changes something that readers wait for.
func (n *network) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	n.changed.Broadcast()
}

// Accept, Close and Addr make the network the server's net.Listener.
func (n *network) Accept() (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for !n.closed && len(n.incoming) == 0 {
		n.changed.Wait()
	}
	if n.closed {
		return nil, net.ErrClosed
	}
	c := n.incoming[0]
	n.incoming = n.incoming[1:]
	return c, nil
}

func (n *network) Close() error {
	n.set(func() { n.closed = true })
	return nil
}

func (n *network) Addr() net.Addr { return addr{} }

// link is a client's way to the server: all of its connections.
type link struct {
	*network

	// Guarded by network.mu.
	partitioned bool
	conns       []*conn // the client's ends that were not closed yet
	drops       drops
}

func (l *link) dial() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, &net.OpError{Op: "dial", Net: "coordtest", Addr: addr{}, Err: net.ErrClosed}
	}
	up, down := &stream{}, &stream{}
	client, server := &conn{link: l, in: down, out: up}, &conn{link: l, in: up, out: down}
	l.conns = append(l.conns, client)
	l.incoming = append(l.incoming, server)
	l.changed.Broadcast()
	return client, nil
}

// breakAll ends every connection with what is under way on it.
func (l *link) breakAll() {
	l.set(func() {
		for _, c := range l.conns {
			c.in.reset, c.out.reset = true, true
		}
		l.conns = nil
	})
}

// stream is one direction of a connection. Guarded by network.mu.
type stream struct {
	data  []byte // written and not read yet
	ended bool   // the writer has closed
	gone  bool   // the reader has closed
	reset bool   // the connection broke: both ends know at once, whatever stands between them
}

// conn is one end of a connection.
type conn struct {
	*link
	in, out *stream

	// Guarded by network.mu.
	readDeadline time.Time
	timer        *time.Timer // wakes readers at readDeadline; nil when there is none
}

// Read waits while nothing may pass, and for data, the end or the deadline.
func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch passes := !c.paused && !c.partitioned; {
		case c.in.gone:
			return 0, net.ErrClosed
		case c.in.reset:
			return 0, io.ErrUnexpectedEOF
		case !c.readDeadline.IsZero() && !time.Now().Before(c.readDeadline):
			return 0, os.ErrDeadlineExceeded
		case passes && len(c.in.data) > 0:
			n := copy(p, c.in.data)
			if c.in.data = c.in.data[n:]; len(c.in.data) == 0 {
				c.in.data = nil
			}
			return n, nil
		case passes && c.in.ended:
			return 0, io.EOF
		}
		c.changed.Wait()
	}
}

// Write never waits.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.out.ended:
		return 0, net.ErrClosed
	case c.out.reset || c.out.gone && !c.paused && !c.partitioned:
		return 0, io.ErrClosedPipe
	}
	c.out.data = append(c.out.data, p...)
	c.changed.Broadcast()
	return len(p), nil
}

// Close ends this end; the other one sees it when it may.
func (c *conn) Close() error {
	c.set(func() {
		c.in.gone, c.out.ended = true, true
		c.stopTimer()
		for i, other := range c.conns {
			if other == c {
				c.conns = append(c.conns[:i], c.conns[i+1:]...)
				break
			}
		}
	})
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.set(func() {
		c.stopTimer()
		c.readDeadline = t
		if !t.IsZero() {
			c.timer = time.AfterFunc(time.Until(t), func() { c.set(func() {}) })
		}
	})
	return nil
}

func (c *conn) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// SetWriteDeadline does nothing, for no write waits.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is SetReadDeadline.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *conn) LocalAddr() net.Addr { return addr{c.link} }

func (c *conn) RemoteAddr() net.Addr { return addr{c.link} }

// addr tells the server whose connection it is.
type addr struct{ *link }

func (addr) Network() string { return "coordtest" }

func (addr) String() string { return "coordtest" }
