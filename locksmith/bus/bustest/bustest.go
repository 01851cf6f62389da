// Package bustest gives a test a message bus of its own in the place of the system's.
package bustest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"
)

// configuration lets everybody do everything on one socket.
const configuration = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow send_type="signal"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
`

// Bus is a dbus-daemon. Its methods, but for Stop, are called from the test's
// goroutine, and end the test when they fail.
type Bus struct {
	t      testing.TB
	config string
	mu     sync.Mutex
	daemon *exec.Cmd // nil while it is stopped
}

// Start starts a bus that ends with the test, and makes it the test's system bus:
// DBUS_SYSTEM_BUS_ADDRESS says so, so the test cannot run in parallel with others.
// Without dbus-daemon the test is skipped, in CI it fails.
func Start(t testing.TB) *Bus {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		missing(t, "dbus-daemon is not installed (apt-get install dbus-daemon)")
	}
	dir, err := os.MkdirTemp("", "bus") // the name of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // other users may come
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	b := &Bus{t: t, config: filepath.Join(dir, "bus.conf")}
	if err := os.WriteFile(b.config, fmt.Appendf(nil, configuration, socket), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+socket)
	b.Start()
	t.Cleanup(b.Stop)
	return b
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Start starts a bus that was stopped, at the same address.
func (b *Bus) Start() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.daemon = exec.Command("dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", "--print-address", "--config-file="+b.config)
	b.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that times out cleans up nothing
	var complaints bytes.Buffer
	b.daemon.Stderr = &complaints
	out, err := b.daemon.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.daemon.Start(); err != nil {
		b.t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.daemon.Wait()
		b.daemon = nil
		b.t.Fatalf("start dbus-daemon: %v\n%s", err, &complaints)
	}
}

// Stop kills the bus: every connection ends. To stop it again does nothing.
func (b *Bus) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.daemon != nil {
		b.daemon.Process.Kill()
		b.daemon.Wait()
		b.daemon = nil
	}
}

// Connect opens a connection that ends with the test.
func (b *Bus) Connect() *dbus.Conn {
	b.t.Helper()
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

// Serve connects, has the methods of v answer at a path and under an interface, and owns a name.
func (b *Bus) Serve(name string, path dbus.ObjectPath, iface string, v any) *dbus.Conn {
	b.t.Helper()
	conn := b.Connect()
	if err := conn.Export(v, path, iface); err != nil {
		b.t.Fatal(err)
	}
	reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		b.t.Fatalf("own %s: %v, %v", name, reply, err)
	}
	return conn
}
