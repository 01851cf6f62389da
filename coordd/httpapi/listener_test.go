package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// both is what a client port without TLS takes.
var both = Accepts{Clear: true, GRPC: true, HTTP: true}

// startSplitter serves gRPC health and an HTTP handler on one port and returns
// its address.
func startSplitter(t *testing.T, accepts Accepts, timeout time.Duration, bound int) (address string) {
	t.Helper()
	return startSplitterIn(t, nil, accepts, timeout, bound)
}

func startSplitterIn(t *testing.T, places Places, accepts Accepts, timeout time.Duration, bound int) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newSplitter(l, accepts, places, slog.New(slog.DiscardHandler), timeout, bound)
	rpc := grpc.NewServer(grpc.Creds(tlsconfig.Handshaken()))
	grpc_health_v1.RegisterHealthServer(rpc, health.NewServer())
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		io.WriteString(w, r.Method+" "+r.URL.Path+" "+string(body))
	})}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := rpc.Serve(s.GRPC()); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("gRPC server: %v", err)
		}
	})
	serving.Go(func() { web.Serve(s.HTTP()) })
	serving.Go(func() {
		if err := s.Run(); err != nil {
			t.Errorf("splitter: %v", err)
		}
	})
	t.Cleanup(func() {
		s.Close()
		rpc.Stop()
		web.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

func checkGRPC(t *testing.T, address string, with credentials.TransportCredentials) {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(with))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	response, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("gRPC health: %v, %v", response, err)
	}
}

func TestOnePortServesBoth(t *testing.T) {
	address := startSplitter(t, both, handshakeTimeout, maxUndecided)
	checkGRPC(t, address, insecure.NewCredentials())
	response, err := http.Post("http://"+address+"/somewhere", "text/plain", strings.NewReader("something"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != "POST /somewhere something" {
		t.Fatalf("HTTP answer %q", body)
	}
}

func TestPrefaceInPiecesIsHTTP2(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() {
		for _, b := range []byte(preface + "SM") {
			if _, err := client.Write([]byte{b}); err != nil {
				return
			}
		}
	})
	peeked, isHTTP2, err := peekPreface(server)
	if err != nil || !isHTTP2 {
		t.Fatalf("peek: %t, %v; want HTTP/2", isHTTP2, err)
	}
	rest := make([]byte, len(preface)+2)
	if _, err := io.ReadFull(peeked, rest); err != nil || string(rest) != preface+"SM" {
		t.Fatalf("read again %q, %v; want all that was sent", rest, err)
	}
}

func TestGarbageIsRefused(t *testing.T) {
	address := startSplitter(t, both, handshakeTimeout, maxUndecided)
	for _, garbage := range []string{"\x16\x03\x01\x02\x00\x01\x00\x01", "PRI * HTTP/3.0\r\n\r\n", "hello\r\n\r\n", "PRI\r\n\r\n"} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, garbage+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%q: %v; want an answer", garbage, err)
			continue
		}
		if response.StatusCode < 400 || !response.Close {
			t.Errorf("%q: answered %s, want a refusal that closes the connection", garbage, response.Status)
		}
	}
}

// However long a client may be silent, others do not wait for that.
func TestSilentClientsDoNotKeepOthersOut(t *testing.T) {
	const bound = 4
	address := startSplitter(t, both, time.Hour, bound)
	for range 2 * bound {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	checkGRPC(t, address, insecure.NewCredentials())
}

// Connections beyond the bound wait until one is closed, whatever became of it.
func TestConnectionsTakePlaces(t *testing.T) {
	places := NewPlaces(2)
	address := startSplitterIn(t, places, both, time.Hour, maxUndecided)
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	served := dialHTTP(t, address)
	waiting, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if _, err := io.WriteString(waiting, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if len(places) != cap(places) {
		t.Errorf("%d of %d places are taken", len(places), cap(places))
	}
	served.Close()
	if _, err := http.ReadResponse(bufio.NewReader(waiting), nil); err != nil {
		t.Fatal(err)
	}
	silent.Close()
	checkGRPC(t, address, insecure.NewCredentials())
}

// dialHTTP returns a connection on which a request has been answered.
func dialHTTP(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestClosingEndsTheWaitForAPlace(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	places := NewPlaces(1)
	places <- struct{}{}
	s := NewSplitter(l, both, places, slog.New(slog.DiscardHandler))
	ran := make(chan error, 1)
	go func() { ran <- s.Run() }()
	s.Close()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
}

func TestClosingReleasesSilentClients(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewSplitter(l, both, nil, slog.New(slog.DiscardHandler))
	ran := make(chan error, 1)
	go func() { ran <- s.Run() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for {
		s.mu.Lock()
		n := len(s.undecided)
		s.mu.Unlock()
		if n == 1 {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(context.Cause(t.Context()))
		}
	}
	s.Close()
	if err := <-ran; err != nil {
		t.Fatalf("Run after Close: %v", err)
	}
	if _, err := s.GRPC().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Accept after Close: %v, want %v", err, net.ErrClosed)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Fatal("the silent client's connection is still open")
	}
}
