package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// manager stands in for systemd: it holds sockets, hears notifications, and
// starts coordd as systemd would.
type manager struct {
	t       *testing.T
	notices *net.UnixConn
	heard   chan string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{t: t, notices: conn, heard: make(chan string, 1000)}
	var hearing sync.WaitGroup
	hearing.Go(func() {
		buffer := make([]byte, 4096)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			for line := range strings.SplitSeq(string(buffer[:n]), "\n") {
				m.heard <- line
			}
		}
	})
	t.Cleanup(func() { conn.Close(); hearing.Wait(); os.RemoveAll(dir) })
	return m
}

// start runs coordd with sockets, as a service of Type=notify with a watchdog.
func (m *manager) start(sockets []*os.File, names string, flags ...string) (process *exec.Cmd, log *bytes.Buffer) {
	m.t.Helper()
	// Only a process itself knows its LISTEN_PID.
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, program(m.t, "bin/coordd")}, flags...)...)
	cmd.Env = append(os.Environ(),
		"NOTIFY_SOCKET="+m.notices.LocalAddr().String(), "WATCHDOG_USEC=300000",
		fmt.Sprintf("LISTEN_FDS=%d", len(sockets)), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = sockets
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log = new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if m.t.Failed() {
			m.t.Logf("log:\n%s", log)
		}
	})
	return cmd, log
}

// await reads notices until one is want.
func (m *manager) await(want string) {
	m.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case got := <-m.heard:
			if got == want {
				return
			}
		case <-timeout:
			m.t.Fatalf("systemd was not told %s", want)
		}
	}
}

func socket(t *testing.T) (file *os.File, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	file, err = l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file, l.Addr().String()
}

// TestSystemdService: sockets that are open before the process, readiness, the
// watchdog, the log's level, and the end.
func TestSystemdService(t *testing.T) {
	m := newManager(t)
	clients, address := socket(t)
	peers, peerAddress := socket(t)
	client := newClient(t, "http://"+address)
	answered := make(chan error, 1)
	go func() { // a client that comes before the service
		_, err := client.Put(within(t, 30*time.Second), "early", "bird")
		answered <- err
	}()
	logFile := filepath.Join(t.TempDir(), "log")
	cmd, _ := m.start([]*os.File{clients, peers}, "client:peer", "--name", "a", "--data-dir", t.TempDir(), "--log-outputs", "stderr,"+logFile,
		"--listen-client-urls", "http://"+address, "--advertise-client-urls", "http://"+address,
		"--listen-peer-urls", "http://"+peerAddress, "--initial-advertise-peer-urls", "http://"+peerAddress)
	m.await("STATUS=waiting for its cluster")
	m.await("READY=1")
	m.await("STATUS=serving")
	for range 3 {
		m.await("WATCHDOG=1")
	}
	if err := <-answered; err != nil {
		t.Errorf("the client that came first: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	for ctx := within(t, 30*time.Second); !bytes.Contains(read(t, logFile), []byte("the log's level changes")); {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("SIGUSR1 did not change the log's level")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.await("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// TestSocketWithoutURL: a member that would let clients wait for ever says so instead.
func TestSocketWithoutURL(t *testing.T) {
	m := newManager(t)
	unknown, address := socket(t)
	cmd, log := m.start([]*os.File{unknown}, "web", "--data-dir", t.TempDir(),
		"--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:2379", "--listen-peer-urls", "http://127.0.0.1:0")
	if err := cmd.Wait(); err == nil || !strings.Contains(log.String(), address) {
		t.Errorf("%v, want an error that names %s", err, address)
	}
}

// TestUnitsAreValid asks systemd about the units, with the built programs in the
// place of the installed ones: it must find nothing to say, and that what they expose
// is little.
func TestUnitsAreValid(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	found, err := filepath.Glob(filepath.Join("..", "deploy", "systemd", "*.s*e*")) // services and sockets
	if err != nil {
		t.Fatal(err)
	}
	var services []string
	arguments := []string{"verify", "--man=no", "--recursive-errors=no"}
	for _, unit := range found {
		text := strings.ReplaceAll(string(read(t, unit)), "/usr/bin/", filepath.Dir(program(t, "bin/coordd"))+"/")
		copied := filepath.Join(dir, strings.Replace(filepath.Base(unit), "@.", "@coordd.", 1))
		write(t, copied, []byte(text))
		arguments = append(arguments, copied)
		if strings.HasSuffix(copied, ".service") {
			services = append(services, copied)
		}
	}
	// A drop-in is valid where it is used.
	write(t, filepath.Join(dir, "dropped.service"), []byte("[Service]\nType=oneshot\nExecStart=/bin/true\n"))
	for service, samples := range map[string][]string{
		"dropped": {"50-start-slot.conf"}, "locksmithd": {"locksmithd-container.conf", "locksmithd-hooks.conf", "locksmithd-nonroot.conf"},
	} {
		for _, sample := range samples {
			text := strings.ReplaceAll(string(read(t, filepath.Join("..", "deploy", "systemd", sample))), "/usr/bin/", filepath.Dir(program(t, "bin/coordd"))+"/")
			changed := filepath.Join(t.TempDir(), service+".service")
			write(t, changed, append(read(t, filepath.Join(dir, service+".service")), "\n"+text...))
			checkUnits(t, "verify", "--man=no", "--recursive-errors=no", changed)
		}
	}
	checkUnits(t, arguments...)
	if len(services) != 3 {
		t.Errorf("services %q, want three", services)
	}
	for _, service := range services {
		ctx := within(t, time.Minute)
		out, err := exec.CommandContext(ctx, "systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", service).CombinedOutput()
		score := regexp.MustCompile(`Overall exposure level .*`).Find(out)
		t.Logf("%s", score)
		if err != nil || score == nil {
			t.Errorf("%s exposes too much: %v\n%s", service, err, out)
		}
	}
}

// checkUnits runs systemd-analyze, which must succeed and print nothing: of a key it does not know it only warns.
func checkUnits(t *testing.T, arguments ...string) {
	t.Helper()
	out, err := exec.CommandContext(within(t, time.Minute), "systemd-analyze", arguments...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
}

// TestEveryFlagOfEtcdIsKnown: served, accepted or refused, but never unheard of.
func TestEveryFlagOfEtcdIsKnown(t *testing.T) {
	help := func(path string) string {
		out, err := exec.CommandContext(within(t, time.Minute), program(t, path), "--help").CombinedOutput()
		if err != nil {
			t.Fatalf("%s --help: %v", path, err)
		}
		return string(out)
	}
	ours := help("bin/coordd")
	known := map[string]bool{}
	for _, name := range regexp.MustCompile(`--[a-z0-9-]+`).FindAllString(ours, -1) {
		known[name] = true
	}
	names := regexp.MustCompile(`(?m)^  (--[a-z0-9-]+)`).FindAllStringSubmatch(help("e2e/peers/bin/etcd"), -1)
	if len(names) < 100 {
		t.Fatalf("etcd has %d flags only", len(names))
	}
	for _, name := range names {
		if !known[name[1]] {
			t.Errorf("%s is not in coordd's help", name[1])
		}
	}
}

// TestMetricsPort serves what a monitor asks for and no more.
func TestMetricsPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	startCluster(t, 1, "--listen-metrics-urls", "http://"+address)
	for path, want := range map[string]int{"/metrics": 200, "/health": 200, "/readyz": 200, "/version": 404, "/v3/kv/range": 404} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		request, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		cancel()
		if response.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, response.Status, want)
		}
	}
}
