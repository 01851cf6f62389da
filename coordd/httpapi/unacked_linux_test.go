package httpapi

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/sys/unix"
)

// unackedOf returns the bound of a connection in milliseconds, 0 without one.
func unackedOf(t *testing.T, conn net.Conn) (bound int) {
	t.Helper()
	tcp, ok := tcpOf(conn)
	if !ok {
		t.Fatalf("no TCP below a %T", conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { bound, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) })
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return bound
}

// A connection that carries a hold is given up when its other end has vanished; one that does not may pause.
func TestUnackedIsBoundWhereAHoldDependsOnIt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewSplitter(l, both, NewPlaces(10), slog.New(slog.DiscardHandler))
	bounds := make(chan int, 1)
	tell := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		bounds <- unackedOf(t, r.Context().Value(connKey{}).(net.Conn))
	})
	mux := http.NewServeMux()
	mux.Handle("/coord.v1/", boundUnackedOf(tell))
	mux.Handle("/v3/", tell)
	web := &httptest.Server{Listener: s.HTTP(), Config: &http.Server{Handler: mux, ConnContext: WithConn}}
	web.Start()
	defer web.Close()
	running := make(chan error)
	go func() { running <- s.Run() }()
	for _, c := range []struct {
		path string
		want int
	}{{"/v3/watch", 0}, {"/coord.v1/locks/acquire", int(unackedTimeout.Milliseconds())}} {
		response, err := http.Get("http://" + l.Addr().String() + c.path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := <-bounds; got != c.want {
			t.Errorf("%s: %d ms, want %d", c.path, got, c.want)
		}
	}
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte(preface)); err != nil {
		t.Fatal(err)
	}
	conn, err := s.GRPC().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := unackedOf(t, conn); got != int(unackedTimeout.Milliseconds()) {
		t.Errorf("gRPC: %d ms", got)
	}
	s.Close()
	if err := <-running; err != nil {
		t.Error(err)
	}
}
