package httpapi

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// handshakeTimeout is how long a client may take to show what it speaks,
	// and for its TLS handshake.
	handshakeTimeout = 10 * time.Second
	// maxUndecided bounds the connections that have not shown it yet. Beyond it
	// the oldest makes room: who means it has shown it by then.
	maxUndecided = 1024
)

// Accepts says what a Splitter takes from a listener.
type Accepts struct {
	Clear bool        // connections without TLS
	TLS   *tls.Config // of connections with TLS; nil: they are refused. Its NextProtos must be Protocols of GRPC and HTTP
	GRPC  bool        // HTTP/2
	HTTP  bool        // anything else
}

// Protocols are the application protocols to offer under TLS: HTTP/1.1 goes
// first, so that clients that speak both do not take the port that only gRPC answers.
func Protocols(grpc, http bool) []string {
	switch {
	case grpc && http:
		return []string{"http/1.1", "h2"}
	case grpc:
		return []string{"h2"}
	default:
		return []string{"http/1.1"}
	}
}

// Splitter makes two listeners of one: connections that begin as HTTP/2 go to
// GRPC, all others to HTTP. Under TLS it does the handshake, and goes by the
// protocol agreed there; where a client names none, by what it sends.
type Splitter struct {
	listener net.Listener
	accepts  Accepts
	places   Places
	grpc     *branch
	http     *branch
	timeout  time.Duration
	bound    int // of undecided
	rejected rejections

	closeOnce sync.Once
	closed    chan struct{}
	done      sync.WaitGroup

	mu        sync.Mutex
	ended     bool
	undecided []net.Conn // being looked at, the oldest first
}

// NewSplitter takes over the listener. Run serves it, Close ends it. Each
// connection takes one of places until it is closed.
func NewSplitter(l net.Listener, accepts Accepts, places Places, log *slog.Logger) *Splitter {
	return newSplitter(l, accepts, places, log, handshakeTimeout, maxUndecided)
}

func newSplitter(l net.Listener, accepts Accepts, places Places, log *slog.Logger, timeout time.Duration, bound int) *Splitter {
	s := &Splitter{
		listener: l,
		accepts:  accepts,
		places:   places,
		timeout:  timeout,
		bound:    bound,
		rejected: rejections{log: log.With("listener", l.Addr().String())},
		closed:   make(chan struct{}),
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
		if !s.awaitPlace() {
			return nil
		}
		conn, err := s.accept()
		if err != nil {
			s.places.free()
			select {
			case <-s.closed:
				return nil
			default:
				return err
			}
		}
		conn = s.places.seat(conn)
		if !s.track(conn) {
			conn.Close()
			return nil
		}
		s.done.Go(func() { s.route(conn) })
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
		s.ended = true
		for _, conn := range s.undecided {
			conn.Close()
		}
	})
	return err
}

// route finds out what a connection is and hands it on.
func (s *Splitter) route(raw net.Conn) {
	conn, isHTTP2, err := s.decide(raw)
	if !s.untrack(raw) {
		err = errCrowdedOut
	}
	if err != nil {
		s.rejected.report(raw.RemoteAddr(), err)
		raw.Close()
		return
	}
	to := s.http
	if isHTTP2 {
		to = s.grpc
		_ = boundUnacked(raw) // fails only where the connection has ended
	}
	select {
	case to.conns <- conn:
	case <-s.closed:
		raw.Close()
	}
}

// track notes that a connection is being looked at, and closes the oldest of too
// many. It is false once the Splitter is closed.
func (s *Splitter) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	if len(s.undecided) == s.bound {
		s.undecided[0].Close()
		s.undecided = slices.Delete(s.undecided, 0, 1)
	}
	s.undecided = append(s.undecided, conn)
	return true
}

// untrack says whether the connection has not been closed meanwhile to make room.
func (s *Splitter) untrack(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.undecided, conn)
	if at < 0 {
		return false
	}
	s.undecided = slices.Delete(s.undecided, at, at+1)
	return true
}

// decide does the handshake where there is to be one, and says whether the
// connection is gRPC's. It takes at most s.timeout.
func (s *Splitter) decide(raw net.Conn) (conn net.Conn, isHTTP2 bool, err error) {
	if err := raw.SetDeadline(time.Now().Add(s.timeout)); err != nil {
		return nil, false, err
	}
	conn, secured := raw, s.accepts.TLS != nil
	if secured && s.accepts.Clear {
		if conn, secured, err = peekTLS(raw); err != nil {
			return nil, false, err
		}
	}
	if secured {
		conn, isHTTP2, err = s.handshake(conn)
	} else if !s.accepts.HTTP || s.accepts.GRPC { // an HTTP server takes what comes
		conn, isHTTP2, err = peekPreface(conn)
	}
	switch {
	case err != nil:
		return nil, false, err
	case isHTTP2 && !s.accepts.GRPC:
		return nil, false, errGRPC
	case !isHTTP2 && !s.accepts.HTTP:
		return nil, false, errHTTP
	}
	return conn, isHTTP2, raw.SetDeadline(time.Time{})
}

var (
	errGRPC       = errors.New("gRPC is not served here")
	errHTTP       = errors.New("only gRPC is served here")
	errCrowdedOut = errors.New("the connection had shown nothing yet, and made room for newer ones")
)

func (s *Splitter) handshake(raw net.Conn) (conn net.Conn, isHTTP2 bool, err error) {
	secured := tls.Server(raw, s.accepts.TLS)
	if err := secured.Handshake(); err != nil {
		var header tls.RecordHeaderError
		if errors.As(err, &header) && header.Conn != nil && looksLikeHTTP(header.RecordHeader) {
			io.WriteString(header.Conn, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nThis port speaks TLS: use https://\n")
		}
		return nil, false, err
	}
	switch secured.ConnectionState().NegotiatedProtocol {
	case "h2":
		return secured, true, nil
	case "":
		if !s.accepts.GRPC {
			return secured, false, nil
		}
		return peekPreface(secured) // a client older than the agreement on protocols
	default:
		return secured, false, nil
	}
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
