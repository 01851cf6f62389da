// Package bustest runs a private message bus inside a test, for fakes of the
// system's services and for those who talk to them.
package bustest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// policy lets everyone on the bus do everything: it is the test's alone.
const policy = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*" eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`

// Bus is a running dbus-daemon.
type Bus struct {
	Address string // as DBUS_SYSTEM_BUS_ADDRESS has it

	t      testing.TB
	config string
	daemon *exec.Cmd
}

// Start runs a bus until the test ends and makes it the system bus of this
// process for as long. Where dbus-daemon is not installed, the test is skipped.
func Start(t testing.TB) *Bus {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed (Debian: dbus-daemon)")
	}
	dir, err := os.MkdirTemp("", "bus") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	b := &Bus{Address: "unix:path=" + filepath.Join(dir, "bus"), t: t, config: filepath.Join(dir, "config")}
	if err := os.WriteFile(b.config, fmt.Appendf(nil, policy, filepath.Join(dir, "bus")), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", b.Address)
	t.Cleanup(func() {
		b.Stop()
		os.RemoveAll(dir)
	})
	b.Restart()
	return b
}

// Stop ends the daemon, as a crash of it would. Another Stop does nothing.
func (b *Bus) Stop() {
	if b.daemon != nil {
		b.daemon.Process.Kill()
		b.daemon.Wait()
		b.daemon = nil
	}
}

// Restart ends the daemon and starts another one at the same address.
func (b *Bus) Restart() {
	b.t.Helper()
	b.Stop()
	daemon := exec.Command("dbus-daemon", "--config-file="+b.config, "--nofork", "--nopidfile", "--print-address")
	daemon.Stderr = os.Stderr
	out, err := daemon.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.daemon = daemon
	if said, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(said, "unix:") {
		b.t.Fatalf("dbus-daemon said %q, %v", said, err)
	}
}

// Serve connects to the bus and owns a name on it until the test ends or the
// connection is closed. Objects are to be exported in offer, before the name is there.
func (b *Bus) Serve(name string, offer func(*dbus.Conn) error) *dbus.Conn {
	b.t.Helper()
	conn, err := dbus.Connect(b.Address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	if err := offer(conn); err != nil {
		b.t.Fatal(err)
	}
	if reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		b.t.Fatalf("own %s: %v, %v", name, reply, err)
	}
	return conn
}
