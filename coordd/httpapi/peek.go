package httpapi

import (
	"crypto/tls"
	"net"
)

// preface begins every HTTP/2 connection (RFC 9113, section 3.4). gRPC clients
// send it at once; no HTTP/1 request begins with it.
const preface = "PRI * HTTP/2.0\r\n"

// tlsHandshakeRecord is the first byte of a TLS connection (RFC 8446, section 5.1).
const tlsHandshakeRecord = 0x16

// peekPreface reads until it is clear whether the connection begins with the
// preface. What was read is read again from the connection that it returns.
func peekPreface(conn net.Conn) (peeked net.Conn, isHTTP2 bool, err error) {
	var seen []byte
	buffer := make([]byte, len(preface))
	for len(seen) < len(preface) && string(seen) == preface[:len(seen)] {
		n, err := conn.Read(buffer[len(seen):])
		seen = buffer[:len(seen)+n]
		if err != nil && n == 0 {
			return nil, false, err
		}
	}
	return unread(conn, seen), string(seen) == preface, nil
}

// peekTLS tells from the first byte whether the connection begins with a handshake.
func peekTLS(conn net.Conn) (peeked net.Conn, isTLS bool, err error) {
	first := make([]byte, 1)
	if _, err := conn.Read(first); err != nil {
		return nil, false, err
	}
	return unread(conn, first), first[0] == tlsHandshakeRecord, nil
}

// looksLikeHTTP tells the beginning of a request, or of HTTP/2, in the clear.
func looksLikeHTTP(record [5]byte) bool {
	switch string(record[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PRI *":
		return true
	}
	return false
}

// unread is the connection with what was read of it put back.
func unread(conn net.Conn, seen []byte) net.Conn {
	p := peekedConn{Conn: conn, seen: seen}
	if secured, ok := conn.(*tls.Conn); ok {
		return &peekedTLSConn{p, secured}
	}
	return &p
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

// peekedTLSConn still tells what the handshake agreed on.
type peekedTLSConn struct {
	peekedConn
	secured *tls.Conn
}

func (c *peekedTLSConn) ConnectionState() tls.ConnectionState { return c.secured.ConnectionState() }
