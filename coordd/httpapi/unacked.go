package httpapi

import (
	"context"
	"net"
	"net/http"
	"time"
)

// Streams of coord.v1 keep a hold for their caller, and so they must notice that
// he is gone: also where his host has vanished without closing the connection.
// They send something all the time, so it is enough to bound how long that may
// remain unacknowledged. HTTP connections that carry none of them are left alone: with
// the bound the kernel gives up one whose reader merely pauses for as long.

// unackedTimeout is gRPC's own, where it meets a TCP connection.
const unackedTimeout = 20 * time.Second

type connKey struct{}

// WithConn is an http.Server's ConnContext: it lets handlers find the connection.
func WithConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// boundUnackedOf bounds the connection of a request, before next answers it.
func boundUnackedOf(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			_ = boundUnacked(conn) // fails only where the connection has ended
		}
		next.ServeHTTP(w, r)
	})
}

// tcpOf finds the TCP connection below what this package and TLS put on it.
func tcpOf(conn net.Conn) (*net.TCPConn, bool) {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c, true
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil, false
		}
	}
}

// NetConn is the connection below.
func (c *seated) NetConn() net.Conn { return c.Conn }

// NetConn is the connection below.
func (c *peekedConn) NetConn() net.Conn { return c.Conn }
