package main

import (
	"bytes"
	"context"
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

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/locksmith/slots"
)

// asProgram in the environment makes the test's executable the program itself.
const asProgram = "TEST_RUNS_LOCKSMITHD"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is the program as its users have it.
type process struct {
	*testing.T
	cmd    *exec.Cmd
	stderr *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs the program on a machine of files: no systemd, nobody logged in.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"boot-id": "boot-1\n", "wanted": "linux-image-6.1\n", "empty.yaml": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	args = append([]string{
		"--config=" + filepath.Join(dir, "empty.yaml"), "--machine-id=m1", "--boot-id-file=" + filepath.Join(dir, "boot-id"),
		"--sentinel-file=" + filepath.Join(dir, "wanted"), "--set=machine.hostname=one", "--reboot-command=true", "--poll=50ms",
		"--set=blockers.inhibitors=false", "--set=blockers.users.block=false", "--set=machine.store_member=none",
		"--set=health.boot_complete=false", "--set=health.stable_for=0s",
	}, args...)
	p := &process{T: t, cmd: exec.CommandContext(ctx, os.Args[0], args...), stderr: &lockedBuffer{}}
	p.cmd.Env = append([]string{asProgram + "=1", "PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Stderr = p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	return p
}

// exits demands how the program ends, and a text that it says.
func (p *process) exits(code int, says string) {
	p.Helper()
	p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != code || !strings.Contains(p.stderr.String(), says) {
		p.Errorf("exit code %d, want %d, and %q in:\n%s", got, code, says, p.stderr)
	}
}

func newGroup(t *testing.T) (endpoint string, g *slots.Group) {
	t.Helper()
	endpoint = coorddtest.Start(t)
	client, err := slots.NewClient(slots.ClientConfig{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if g, err = slots.NewGroup(client, slots.DefaultPrefix, slots.DefaultGroup); err != nil {
		t.Fatal(err)
	}
	return endpoint, g
}

func TestProcessReboots(t *testing.T) {
	endpoint, group := newGroup(t)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	rebooted := filepath.Join(t.TempDir(), "rebooted")
	p := start(t, []string{"NOTIFY_SOCKET=" + manager.LocalAddr().String(), "WATCHDOG_USEC=1000000"},
		"--endpoint", endpoint, "--reboot-command=touch "+rebooted)
	said := ""
	for b := make([]byte, 4096); !strings.Contains(said, "STOPPING=1"); {
		if err := manager.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := manager.Read(b)
		if err != nil {
			t.Fatalf("%v, after\n%s", err, said)
		}
		said += string(b[:n]) + "\n"
	}
	p.exits(0, "msg=gone machine=m1 group=default state=gone was=rebooting fence=")
	if _, err := os.Stat(rebooted); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"READY=1\n", "STATUS=gone; wanted: sentinel file ", "linux-image-6.1\n", "WATCHDOG=1\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("the service manager has not heard %q but\n%s", want, said)
		}
	}
	// A step may take longer than the unit's watchdog, and says so first.
	if ready, ask := strings.Index(said, "READY=1"), strings.Index(said, "WATCHDOG_USEC="); ready < 0 || ask < ready {
		t.Errorf("no time was asked for:\n%s", said)
	}
	s, err := group.State(t.Context())
	if err != nil || len(s.Holders) != 1 || s.Holders[0].Phase != slots.Rebooting || s.Holders[0].Hostname != "one" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestProcessInQueue(t *testing.T) {
	endpoint, group := newGroup(t)
	if _, err := group.Acquire(t.Context(), slots.Record{ID: "m0", TakenBy: slots.TakenByAgent}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	p := start(t, nil, "--endpoint", endpoint, "--set=metrics.listen="+address, "--log-format=json")
	metrics := p.scrape("http://"+address+"/metrics", `locksmithd_queue_machines 1\n`)
	for _, want := range []string{
		`locksmithd_state{state="queued"} 1`, `locksmithd_state{state="idle"} 0`, "locksmithd_reboot_wanted 1", "locksmithd_slot_held_seconds 0",
		`locksmithd_reboots_total{result="failed"} 0`, "locksmithd_store_heard_timestamp_seconds 1",
	} {
		if !strings.Contains(metrics, "\n"+want) {
			t.Errorf("%q is not in the metrics", want)
		}
	}
	p.scrape("http://"+address+"/healthz", `"alive":true.*"state":"queued"`)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.exits(0, `"msg":"ended","machine":"m1","group":"default","state":"queued"`)
	if s, err := group.State(t.Context()); err != nil || s.Waiting != 0 || len(s.Holders) != 1 {
		t.Errorf("left behind: %+v, %v", s, err)
	}
}

// scrape gets a page again and again until it has what is wanted.
func (p *process) scrape(url, want string) (page string) {
	p.Helper()
	wanted := regexp.MustCompile(want)
	ctx, cancel := context.WithTimeout(p.Context(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			p.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if page = string(b); err == nil && resp.StatusCode == 200 && wanted.MatchString(page) {
			return page
		}
	}
	p.Fatalf("%s never had %s:\n%s\n%s", url, want, page, p.stderr)
	return ""
}

func TestProcessDoesNotStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "locksmithd.yaml")
	if err := os.WriteFile(file, []byte("poll: 5s\nblockers:\n  users: {grace: soon}\nhealth:\n  deadine: 1m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"a file with two errors":         {[]string{"--config=" + file}, []string{file + ":3: blockers.users.grace: ", file + ":5: health.deadine: there is no such setting"}},
		"a window that is too short":     {[]string{"--set=expected_duration=2h", `--set=windows=[{start: "02:00", length: 1h}]`}, []string{"windows"}},
		"a reboot command that is none":  {[]string{"--reboot-command=/nowhere/reboot"}, []string{"reboot.command", "/nowhere/reboot"}},
		"no trigger":                     {[]string{"--sentinel-file="}, []string{"triggers"}},
		"a stage that slots do not know": {[]string{"--set=machine.stage=100"}, []string{"machine.stage: 100 must be from 0 to 99"}},
		"a port that cannot be opened":   {[]string{"--set=metrics.listen=192.0.2.1:1"}, []string{"metrics.listen"}},
		"an unknown flag":                {[]string{"--sentinel"}, []string{"unknown flag: --sentinel; see locksmithd --help"}},
		"an unknown log format":          {[]string{"--log-format=xml"}, []string{`--log-format: "xml"`}},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, nil, test.args...)
			for _, want := range test.want {
				p.exits(1, want)
			}
		})
	}
}

func TestProcessStrategyOff(t *testing.T) {
	start(t, []string{"REBOOT_STRATEGY=off"}).exits(0, "the strategy is off")
}
