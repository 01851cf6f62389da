package coordd_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd"
	"golang.org/x/net/http2"
)

// connect speaks HTTP/2 with a new member, as a gRPC client begins to.
func connect(t *testing.T, edit func(*coordd.Config)) *http2.Framer {
	t.Helper()
	cfg := coordd.Defaults()
	cfg.DataDir = t.TempDir()
	cfg.ListenClientURLs = []string{"http://127.0.0.1:0"}
	cfg.AdvertiseClientURLs = cfg.ListenClientURLs
	cfg.ListenPeerURLs = []string{"http://127.0.0.1:0"}
	edit(&cfg)
	server, err := coordd.Start(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.ClientURLs()[0], "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return framer
}

// TestSilentConnectionsArePinged, and ended when nothing comes back.
func TestSilentConnectionsArePinged(t *testing.T) {
	framer := connect(t, func(c *coordd.Config) {
		c.GRPCKeepAliveInterval, c.GRPCKeepAliveTimeout = time.Second, 100*time.Millisecond // a second is gRPC's least
	})
	pinged := false
	for {
		frame, err := framer.ReadFrame()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if ping, ok := frame.(*http2.PingFrame); ok && !ping.IsAck() {
			pinged = true
		}
	}
	if !pinged {
		t.Error("the connection was ended without a ping")
	}
}

// TestPingsTooOftenEndTheConnection: with few streams a client has no need to.
func TestPingsTooOftenEndTheConnection(t *testing.T) {
	framer := connect(t, func(c *coordd.Config) { c.GRPCKeepAliveMinTime = time.Hour })
	for range 10 {
		if err := framer.WritePing(false, [8]byte{}); err != nil {
			break // ended already
		}
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("no GOAWAY before %v", err)
		}
		if goAway, ok := frame.(*http2.GoAwayFrame); ok {
			if goAway.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("GOAWAY with %s", goAway.ErrCode)
			}
			return
		}
	}
}
