package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var interrupt = os.Signal(syscall.SIGINT)

// TestBadRequestsAreRefusedAndStoreNothing sends what a client may get wrong
// and compares with etcd's error; the store must stay as it was.
func TestBadRequestsAreRefusedAndStoreNothing(t *testing.T) {
	c := startCluster(t, 1)
	client := newClient(t, c.Endpoints()...)
	ctx := within(t, time.Minute)
	ops := make([]clientv3.Op, 129)
	for i := range ops {
		ops[i] = clientv3.OpPut(strings.Repeat("k", i+1), "")
	}
	for name, bad := range map[string]struct {
		send func() error
		want error
	}{
		"put of an empty key":    {func() error { _, err := client.Put(ctx, "", "v"); return err }, rpctypes.ErrEmptyKey},
		"get of an empty key":    {func() error { _, err := client.Get(ctx, ""); return err }, rpctypes.ErrEmptyKey},
		"delete of an empty key": {func() error { _, err := client.Delete(ctx, ""); return err }, rpctypes.ErrEmptyKey},
		"oversize request": {func() error {
			_, err := client.Put(ctx, "big", strings.Repeat("v", 1600<<10))
			return err
		}, rpctypes.ErrRequestTooLarge},
		"future revision":    {func() error { _, err := client.Get(ctx, "k", clientv3.WithRev(1000)); return err }, rpctypes.ErrFutureRev},
		"unknown lease":      {func() error { _, err := client.Put(ctx, "k", "v", clientv3.WithLease(42)); return err }, rpctypes.ErrLeaseNotFound},
		"129 operations":     {func() error { _, err := client.Txn(ctx).Then(ops...).Commit(); return err }, rpctypes.ErrTooManyOps},
		"duplicate key":      {func() error { _, err := client.Txn(ctx).Then(ops[0], ops[0]).Commit(); return err }, rpctypes.ErrDuplicateKey},
		"future compaction":  {func() error { _, err := client.Compact(ctx, 1000); return err }, rpctypes.ErrFutureRev},
		"lease of too long":  {func() error { _, err := client.Grant(ctx, 1<<40); return err }, rpctypes.ErrLeaseTTLTooLarge},
		"revoke of no lease": {func() error { _, err := client.Revoke(ctx, 42); return err }, rpctypes.ErrLeaseNotFound},
		"value and ignore_value": {func() error {
			_, err := client.Put(ctx, "k", "v", clientv3.WithIgnoreValue())
			return err
		}, rpctypes.ErrValueProvided},
	} {
		if err := bad.send(); !errors.Is(err, bad.want) {
			t.Errorf("%s: %v, want %v", name, err, bad.want)
		}
	}
	resp := <-client.Watch(ctx, "k", clientv3.WithRev(-1))
	if !resp.Canceled || resp.Err() == nil {
		t.Errorf("watch from a negative revision: %+v, want it canceled", resp)
	}
	got, err := client.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil || got.Count != 0 || got.Header.Revision != 1 {
		t.Errorf("after refused requests the store holds %d keys at revision %d, %v; want none at 1", got.Count, got.Header.Revision, err)
	}
}

func TestGarbageOnThePort(t *testing.T) {
	c := startCluster(t, 1)
	m := c.Members[0]
	for name, garbage := range map[string][]byte{
		"noise":          bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 4096),
		"TLS hello":      {0x16, 0x03, 0x01, 0x02, 0x00, 0x01},
		"HTTP/2, broken": append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), bytes.Repeat([]byte{0xff}, 1024)...),
		"half a preface": []byte("PRI * HT"),
	} {
		for _, url := range []string{m.ClientURL, m.PeerURL} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			conn.Write(garbage) // the server may have hung up already
			conn.(*net.TCPConn).CloseWrite()
			conn.SetReadDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s on %s: the connection is left open", name, url)
			}
			conn.Close()
		}
	}
	if _, err := newClient(t, m.ClientURL).Put(within(t, 10*time.Second), "k", "v"); err != nil {
		t.Errorf("after garbage: %v", err)
	}
}

// runFailing starts coordd where it must fail, and returns what it printed.
func runFailing(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(within(t, 30*time.Second), program(t, "bin/coordd"), args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("coordd %s: %v, want exit code 1; it printed\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestStartErrorsSayWhatToDo(t *testing.T) {
	c := startCluster(t, 1)
	m := c.Members[0]
	advertised := slices.Clip([]string{"--advertise-client-urls", "http://127.0.0.1:2379"})
	free := slices.Clip(append(advertised, "--listen-client-urls", "http://127.0.0.1:0", "--listen-peer-urls", "http://127.0.0.1:0"))
	for name, bad := range map[string]struct {
		args []string
		want string
	}{
		"data directory in use": {append(free, "--name", m.Name, "--data-dir", m.DataDir), "in use by another process"},
		"client port taken":     {append(advertised, "--data-dir", t.TempDir(), "--listen-client-urls", m.ClientURL), "address already in use"},
		"peer port taken":       {append(advertised, "--data-dir", t.TempDir(), "--listen-client-urls", "http://127.0.0.1:0", "--listen-peer-urls", m.PeerURL), "address already in use"},
		"unknown flag":          {[]string{"--no-such-flag"}, "unknown flag: --no-such-flag"},
		"argument":              {[]string{"extra"}, "extra"},
		"not in the cluster":    {append(free, "--data-dir", t.TempDir(), "--name", "x", "--initial-cluster", "y=http://127.0.0.1:2380"), `no member "x"`},
		"bad URL":               {append(advertised, "--data-dir", t.TempDir(), "--listen-client-urls", "127.0.0.1:2379"), "http://host:port"},
		"nothing advertised":    {[]string{"--data-dir", t.TempDir(), "--listen-client-urls", "http://127.0.0.1:0"}, "--advertise-client-urls"},
		"election too short":    {[]string{"--data-dir", t.TempDir(), "--election-timeout", "100"}, "--election-timeout"},
	} {
		if out := runFailing(t, bad.args...); !strings.Contains(out, bad.want) || strings.Contains(out, "panic") {
			t.Errorf("%s: printed %q, want %q in it", name, out, bad.want)
		}
	}
}

// TestMemberWithoutItsDataIsRefused: a member that has lost its data must not
// vote, for it has forgotten what it acknowledged. Nor may it run on another's.
func TestMemberWithoutItsDataIsRefused(t *testing.T) {
	c := startCluster(t, 3)
	lost, other := c.Members[0], c.Members[1]
	lost.Kill()
	kept := lost.DataDir + ".kept"
	if err := os.Rename(lost.DataDir, kept); err != nil {
		t.Fatal(err)
	}
	expectRefusal(t, lost, "has run in this cluster before")

	other.Kill()
	if err := os.RemoveAll(lost.DataDir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other.DataDir, lost.DataDir); err != nil {
		t.Fatal(err)
	}
	expectRefusal(t, lost, "are those of member "+other.Name)

	if err := os.Rename(lost.DataDir, other.DataDir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(kept, lost.DataDir); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*cluster.Member{lost, other} {
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []*cluster.Member{lost, other} {
		if err := m.AwaitReady(within(t, time.Minute)); err != nil {
			t.Error(err)
		}
	}
}

// expectRefusal starts a member that must end with exit code 1 and say why.
func expectRefusal(t *testing.T, m *cluster.Member, why string) {
	t.Helper()
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.Exited():
	case <-within(t, 30*time.Second).Done():
		t.Fatalf("%s runs; it should refuse, as it %s", m.Name, why)
	}
	log, err := os.ReadFile(m.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if m.ExitCode() != 1 || !strings.Contains(string(log), why) || strings.Contains(string(log), "panic") {
		t.Errorf("exit code %d, want 1 and %q in\n%s", m.ExitCode(), why, tail(log, 1000))
	}
}

// TestDamagedLogIsRefused flips a bit in the middle of the log.
func TestDamagedLogIsRefused(t *testing.T) {
	c := startCluster(t, 1)
	m := c.Members[0]
	client := newClient(t, m.ClientURL)
	for range 100 {
		if _, err := client.Put(within(t, 10*time.Second), "k", strings.Repeat("v", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	m.Kill()
	segments, err := filepath.Glob(filepath.Join(m.DataDir, "member", "wal", "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no log segments: %v", err)
	}
	flip(t, segments[0], 50_000)
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	<-m.Exited()
	log, err := os.ReadFile(m.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if m.ExitCode() != 1 || !strings.Contains(string(log), filepath.Base(segments[0])) {
		t.Errorf("exit code %d, want 1 and the segment's name in\n%s", m.ExitCode(), tail(log, 1000))
	}
}

func flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func TestHTTPOnTheClientPort(t *testing.T) {
	c := startCluster(t, 1)
	for path, want := range map[string]string{
		"/health":  `"health":"true"`,
		"/version": `"etcdserver":"3.7.`,
		"/metrics": "etcd_server_has_leader 1",
	} {
		body := get(t, c.Members[0], path)
		if !strings.Contains(body, want) {
			t.Errorf("GET %s: %q, want %q in it", path, body, want)
		}
	}
}

func get(t *testing.T, m *cluster.Member, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t, 10*time.Second), http.MethodGet, m.ClientURL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestVersionFlag is what scripts that look for etcd's version read.
func TestVersionFlag(t *testing.T) {
	out, err := exec.CommandContext(context.Background(), program(t, "bin/coordd"), "--version").Output()
	if err != nil || !strings.Contains(string(out), "etcd Version: 3.7.") {
		t.Errorf("coordd --version: %q, %v", out, err)
	}
}
