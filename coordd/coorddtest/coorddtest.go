// Package coorddtest runs a one-member coordd inside a test.
package coorddtest

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/coordd/coordd/coordd"
)

// Start runs a new member on free loopback ports until the test ends, and
// returns its client URL. Its log is shown where the test fails.
func Start(t testing.TB) (endpoint string) {
	t.Helper()
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := Run(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Stop()
		log.Close()
		if t.Failed() {
			text, err := os.ReadFile(log.Name())
			t.Logf("log of the server (%v):\n%s", err, text)
		}
	})
	return server.ClientURLs()[0]
}

// Run is Start for a TestMain: the caller stops the server. Its data are in dir.
func Run(dir string, log io.Writer) (*coordd.Server, error) {
	cfg := coordd.Defaults()
	cfg.Name = "one"
	cfg.DataDir = filepath.Join(dir, "data")
	cfg.ListenClientURLs = []string{"http://127.0.0.1:0"}
	cfg.AdvertiseClientURLs = cfg.ListenClientURLs
	peer, err := freeURL()
	if err != nil {
		return nil, err
	}
	cfg.ListenPeerURLs, cfg.InitialAdvertisePeerURLs = []string{peer}, []string{peer}
	server, err := coordd.Start(cfg, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		return nil, err
	}
	select {
	case <-server.Ready():
		return server, nil
	case <-server.Failed():
		server.Stop()
		return nil, server.Err()
	}
}

// freeURL names a port of loopback that nothing listens on at this moment.
func freeURL() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("coorddtest: find a free port: %w", err)
	}
	defer l.Close()
	return "http://" + l.Addr().String(), nil
}
