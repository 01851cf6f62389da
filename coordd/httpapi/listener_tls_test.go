package httpapi

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/tlsconfig"
	"github.com/coordd/coordd/coordd/tlsconfig/certtest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
)

// secured returns what a port with certificates takes, and the client's side of it.
func secured(t *testing.T, accepts Accepts) (Accepts, *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	ca := certtest.NewAuthority(t, dir, "ca")
	server, client := ca.Issue(t, dir, "server", "server", nil), ca.Issue(t, dir, "client", "someone", nil)
	source := func(p certtest.Pair) *tlsconfig.Source {
		s, err := tlsconfig.Open(tlsconfig.Config{
			CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: ca.File, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	accepts.TLS = source(server).Server(Protocols(accepts.GRPC, accepts.HTTP)...)
	return accepts, source(client).Client("127.0.0.1")
}

func TestOneSecurePortServesBoth(t *testing.T) {
	accepts, client := secured(t, Accepts{GRPC: true, HTTP: true})
	address := startSplitter(t, accepts, handshakeTimeout, maxUndecided)
	checkGRPC(t, address, credentials.NewTLS(client.Clone()))
	for name, protocols := range map[string][]string{"that speaks HTTP/2 too": {"h2", "http/1.1"}, "of HTTP/1": {"http/1.1"}, "without ALPN": nil} {
		conn, err := tls.Dial("tcp", address, withProtocols(client, protocols))
		if err != nil {
			t.Fatalf("a client %s: %v", name, err)
		}
		defer conn.Close()
		io.WriteString(conn, "GET /path HTTP/1.1\r\nHost: x\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.ProtoMajor != 1 || response.StatusCode != http.StatusOK {
			t.Errorf("a client %s: %v, %v; want HTTP/1 to answer", name, response, err)
		}
	}
}

func withProtocols(c *tls.Config, protocols []string) *tls.Config {
	c = c.Clone()
	c.NextProtos = protocols
	return c
}

// TestOldGRPCClientsAreServed: before grpc-go 1.67 ALPN was not asked for by all.
func TestOldGRPCClientsAreServed(t *testing.T) {
	accepts, client := secured(t, Accepts{GRPC: true, HTTP: true})
	address := startSplitter(t, accepts, handshakeTimeout, maxUndecided)
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&tls.Dialer{Config: client}).DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestOnePortSecureAndInTheClear(t *testing.T) {
	accepts, client := secured(t, both)
	address := startSplitter(t, accepts, handshakeTimeout, maxUndecided)
	checkGRPC(t, address, credentials.NewTLS(client.Clone()))
	checkGRPC(t, address, insecure.NewCredentials())
	web := http.Client{Transport: &http.Transport{TLSClientConfig: client}}
	for _, scheme := range []string{"http://", "https://"} {
		response, err := web.Get(scheme + address)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: %v, %v", scheme, response, err)
			continue
		}
		response.Body.Close()
	}
}

// TestClientsCertificateIsReported to gRPC's handlers, which take users from it.
func TestClientsCertificateIsReported(t *testing.T) {
	for _, accepts := range []Accepts{{GRPC: true, HTTP: true}, {GRPC: true}} {
		accepts, client := secured(t, accepts)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := NewSplitter(l, accepts, nil, slog.New(slog.DiscardHandler))
		var seen credentials.AuthInfo
		rpc := grpc.NewServer(grpc.Creds(tlsconfig.Handshaken()), grpc.UnaryInterceptor(
			func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
				if p, ok := peer.FromContext(ctx); ok {
					seen = p.AuthInfo
				}
				return handler(ctx, req)
			}))
		grpc_health_v1.RegisterHealthServer(rpc, health.NewServer())
		var serving sync.WaitGroup
		serving.Go(func() { s.Run() })
		serving.Go(func() { rpc.Serve(s.GRPC()) })
		checkGRPC(t, l.Addr().String(), credentials.NewTLS(client))
		rpc.Stop()
		s.Close()
		serving.Wait()
		info, ok := seen.(credentials.TLSInfo)
		if !ok || info.SecurityLevel != credentials.PrivacyAndIntegrity || len(info.State.VerifiedChains) != 1 ||
			info.State.PeerCertificates[0].Subject.CommonName != "someone" {
			t.Errorf("the handler sees %+v; want the verified certificate of someone", seen)
		}
	}
}

func TestPortsOfOneProtocolRefuseTheOther(t *testing.T) {
	speakHTTP := func(address string) error {
		response, err := http.Get("http://" + address)
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	speakGRPC := func(address string) error {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		return err
	}
	rpc := startSplitter(t, Accepts{Clear: true, GRPC: true}, handshakeTimeout, maxUndecided)
	if err := speakGRPC(rpc); err != nil {
		t.Errorf("gRPC on its own port: %v", err)
	}
	if speakHTTP(rpc) == nil {
		t.Error("HTTP is answered on the port of gRPC")
	}
	web := startSplitter(t, Accepts{Clear: true, HTTP: true}, handshakeTimeout, maxUndecided)
	if err := speakHTTP(web); err != nil {
		t.Errorf("HTTP on its own port: %v", err)
	}
	if speakGRPC(web) == nil {
		t.Error("gRPC is answered on the port of HTTP")
	}
}

// TestHTTPOnASecurePortIsToldSo, as a person who forgot the s would like to be.
func TestHTTPOnASecurePortIsToldSo(t *testing.T) {
	accepts, _ := secured(t, Accepts{GRPC: true, HTTP: true})
	address := startSplitter(t, accepts, handshakeTimeout, maxUndecided)
	response, err := http.Get("http://" + address + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "https://") {
		t.Errorf("answered %s %q", response.Status, body)
	}
}

// TestHalfHandshakesEnd: whoever stops in the middle of a handshake is cut off
// and keeps nobody out.
func TestHalfHandshakesEnd(t *testing.T) {
	accepts, client := secured(t, Accepts{GRPC: true, HTTP: true})
	const bound = 4
	address := startSplitter(t, accepts, 100*time.Millisecond, bound)
	hello := clientHello(t)
	for i := range 2 * bound {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(hello[:len(hello)*i/(2*bound)]); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			defer func() {
				if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("half a handshake is still waited for")
				}
			}()
		}
	}
	// The client tries again until it is let in: nobody says how busy a test machine is.
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(client)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
}

// clientHello is what a TLS client sends first.
func clientHello(t testing.TB) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		defer near.Close()
		tls.Client(near, &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}).Handshake()
	}()
	buffer := make([]byte, 16<<10)
	n, err := far.Read(buffer) // a pipe hands on what was written at once
	if err != nil {
		t.Fatal(err)
	}
	return buffer[:n]
}

// FuzzBytesOnThePort sends bytes to a port that takes everything. Whatever they
// are, the connection ends and the port goes on to serve.
func FuzzBytesOnThePort(f *testing.F) {
	for _, seed := range []string{
		"", "\x16", "\x16\x03\x01\x02\x00\x01", preface, preface + "\r\nSM\r\n\r\n", preface + "\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX", "\x00\xff\xfe", "PRI",
	} {
		f.Add([]byte(seed))
	}
	f.Add(clientHello(f))
	dir := f.TempDir()
	pair := certtest.NewAuthority(f, dir, "ca").Issue(f, dir, "server", "server", nil)
	source, err := tlsconfig.Open(tlsconfig.Config{CertFile: pair.CertFile, KeyFile: pair.KeyFile, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	accepts := both
	accepts.TLS = source.Server(Protocols(true, true)...)
	f.Fuzz(func(t *testing.T, data []byte) {
		near, far := net.Pipe()
		ended := make(chan struct{})
		go func() { // answers are read and forgotten
			io.Copy(io.Discard, near)
			close(ended)
		}()
		go func() {
			near.Write(data)
			near.Close()
		}()
		s := newSplitter(unreached{}, accepts, nil, slog.New(slog.DiscardHandler), time.Second, 1)
		conn, isHTTP2, err := s.decide(far)
		if err == nil {
			first := make([]byte, len(preface))
			n, _ := io.ReadFull(conn, first)
			if isHTTP2 != (string(first[:n]) == preface) {
				t.Errorf("taken for HTTP/2: %t, but it begins with %q", isHTTP2, first[:n])
			}
		}
		far.Close()
		<-ended
	})
}

// unreached is a listener that nobody connects to.
type unreached struct{ net.Listener }

func (unreached) Addr() net.Addr { return &net.TCPAddr{} }
