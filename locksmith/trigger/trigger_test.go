package trigger

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/coordd/coordd/locksmith/line"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func silent() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkReason: a reason stands in logs, in records and on terminals.
func checkReason(t *testing.T, why string) {
	t.Helper()
	if len(why) > maxWhy || !utf8.ValidString(why) || strings.ContainsFunc(why, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("%d bytes: %q", len(why), why)
	}
}

func TestSentinelFile(t *testing.T) {
	for name, c := range map[string]struct{ text, packages, want string }{
		"empty":             {"", "", "it exists"},
		"Ubuntu":            {"*** System restart required ***\n", "linux-image-6.1\nlibc6\nlinux-image-6.1\n", "libc6, linux-image-6.1"},
		"no packages":       {"*** System restart required ***\n", "\n", "System restart required"},
		"blank lines":       {"\n\n  \n a new kernel \n more", "", "a new kernel"},
		"terminal controls": {"\x1b[31mred\x00\x07\xff\n", "", "[31mred"},
		"10 MB":             {strings.Repeat("ä", 5<<20), "", strings.Repeat("ä", 148) + "…"},
		"10 MB of packages": {"", strings.Repeat("linux-image\n", 1<<20), "linux-image"},
	} {
		t.Run(name, func(t *testing.T) {
			f := filepath.Join(t.TempDir(), "reboot-required")
			write(t, f, c.text)
			if c.packages != "" {
				write(t, f+".pkgs", c.packages)
			}
			why, err := sentinelFile(f).Wanted(t.Context())
			checkReason(t, why)
			if err != nil || why != c.want {
				t.Errorf("%q, %v", why, err)
			}
		})
	}
}

// TestNoSentinelFile: what is there and is no file that was meant does not reboot a machine.
func TestNoSentinelFile(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink(missing, dangling); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file string
		fail bool
	}{
		"missing":            {missing, false},
		"packages alone":     {filepath.Join(dir, "only"), false},
		"no such directory":  {filepath.Join(missing, "file"), false},
		"a dangling link":    {dangling, false},
		"a directory":        {dir, true},
		"a pipe":             {fifo, true},
		"a device":           {"/dev/zero", true},
		"a link to itself":   {loop, true},
		"a file for a path":  {filepath.Join(fifo, "file"), true},
		"a name of 10 000 B": {"/" + strings.Repeat("x", 10000), true},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, filepath.Join(dir, "only.pkgs"), "linux")
			why, err := sentinelFile(c.file).Wanted(t.Context())
			if why != "" || (err != nil) != c.fail {
				t.Errorf("%q, %v", why, err)
			}
		})
	}
}

func TestSentinelCommand(t *testing.T) {
	for name, c := range map[string]struct{ script, why, fails string }{
		"wanted":            {"echo a new kernel; echo more", "a new kernel", ""},
		"wanted in silence": {"echo to nobody >&2", "it says so", ""},
		"a long word":       {"head -c 5000 /dev/zero | tr '\\0' x", strings.Repeat("x", 297), ""},
		"not wanted":        {"echo all is well; exit 1", "", ""},
		"exit code 2":       {"echo usage: >&2; exit 2", "", "exit code 2: usage:"},
		"exit code 127":     {"no-program-has-this-name 2>/dev/null", "", "exit code 127"},
		"killed":            {"kill -9 $$", "", "killed"},
		"10 MB":             {"head -c 10000000 /dev/zero", "", "too long"},
		"10 MB, not wanted": {"head -c 10000000 /dev/zero; exit 1", "", "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			why, err := sentinelCommand{"/bin/sh", "-c", c.script}.Wanted(t.Context())
			checkReason(t, why)
			if c.fails == "" && (err != nil || c.why == "" && why != "" || !strings.HasPrefix(why, c.why)) {
				t.Errorf("%q, %v", why, err)
			}
			if c.fails != "" && (why != "" || err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("%q, %v", why, err)
			}
		})
	}
}

// TestSentinelCommandHangs: it is killed, with its children, when the time is over.
func TestSentinelCommandHangs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	why, err := sentinelCommand{"/bin/sh", "-c", `trap "" TERM; sleep 600 & echo wanted; wait`}.Wanted(ctx)
	if why != "" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%q, %v", why, err)
	}
}

func TestKernel(t *testing.T) {
	// As needrestart 3.6 prints it.
	const before = "NEEDRESTART-VER: 3.6\nNEEDRESTART-KCUR: 6.1.0-18-amd64\n"
	for name, c := range map[string]struct{ out, why, fails string }{
		"unknown":              {"NEEDRESTART-VER: 3.6\nNEEDRESTART-KCUR: 6.18.44\nNEEDRESTART-KSTA: 0\nNEEDRESTART-UCSTA: 1\nNEEDRESTART-UCCUR: 0x1000065\nNEEDRESTART-UCEXP: \n", "", ""},
		"current":              {before + "NEEDRESTART-KEXP: 6.1.0-18-amd64\nNEEDRESTART-KSTA: 1\n", "", ""},
		"another build":        {before + "NEEDRESTART-KEXP: 6.1.0-18-amd64\nNEEDRESTART-KSTA: 2\n", "kernel 6.1.0-18-amd64 runs, a newer build of it is installed", ""},
		"another version":      {before + "NEEDRESTART-KEXP: 6.1.0-21-amd64\nNEEDRESTART-KSTA: 3\nNEEDRESTART-SVC: ssh.service\n", "kernel 6.1.0-18-amd64 runs, 6.1.0-21-amd64 is expected", ""},
		"in a container":       {"NEEDRESTART-VER: 3.6\n", "", "no NEEDRESTART-KSTA"},
		"nothing":              {"", "", "no NEEDRESTART-KSTA"},
		"a status of its own":  {before + "NEEDRESTART-KSTA: 4\n", "", `"4"`},
		"a number like a 3":    {before + "NEEDRESTART-KSTA: 33\n", "", `"33"`},
		"no status":            {before + "NEEDRESTART-KSTA:\n", "", "no NEEDRESTART-KSTA"},
		"two statuses":         {before + "NEEDRESTART-KSTA: 1\nNEEDRESTART-KSTA: 3\n", "", "two values"},
		"garbage":              {"\x00\xff\x1b NEEDRESTART-KSTA: 3\n", "", "no NEEDRESTART-KSTA"},
		"a status of garbage":  {"NEEDRESTART-KSTA: \x1b[31m" + strings.Repeat("3", 1000), "", "NEEDRESTART-KSTA is"},
		"a version of garbage": {"NEEDRESTART-KCUR: \x1b[31m" + strings.Repeat("6", 1000) + "\nNEEDRESTART-KSTA: 2", "kernel", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := parseKernel(c.out)
			why := k.why()
			checkReason(t, why)
			if c.fails == "" && (err != nil || c.why == "" && why != "" || !strings.HasPrefix(why, c.why)) {
				t.Errorf("%q, %v", why, err)
			}
			if c.fails != "" && (why != "" || err == nil || !strings.Contains(err.Error(), c.fails) || len(err.Error()) > 2*maxWhy) {
				t.Errorf("%q, %v", why, err)
			}
		})
	}
}

// fakeNeedrestart puts a script in the place of needrestart.
func fakeNeedrestart(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "needrestart")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestNeedrestart(t *testing.T) {
	const wanted = "echo NEEDRESTART-KCUR: 1; echo NEEDRESTART-KEXP: 2; echo NEEDRESTART-KSTA: 3;"
	for name, c := range map[string]struct{ script, why, fails string }{
		"wanted":         {`[ "$*" = "-b -k" ] || exit 9;` + wanted, "kernel 1 runs, 2 is expected", ""},
		"not wanted":     {"echo NEEDRESTART-KSTA: 1", "", ""},
		"it fails":       {wanted + "echo broken >&2; exit 255", "", "exit code 255: broken"},
		"exit code 1":    {wanted + "exit 1", "", "exit code 1"},
		"10 MB":          {wanted + "head -c 10000000 /dev/zero", "", "too long"},
		"warnings alone": {wanted[:0] + "echo NEEDRESTART-KSTA: 3 >&2", "", "no NEEDRESTART-KSTA"},
	} {
		t.Run(name, func(t *testing.T) {
			fakeNeedrestart(t, c.script)
			n, err := newNeedrestart(silent())
			if err != nil {
				t.Fatal(err)
			}
			why, err := n.Wanted(t.Context())
			if c.fails == "" && (err != nil || why != c.why) || c.fails != "" && (why != "" || err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("%q, %v", why, err)
			}
		})
	}
}

// TestNeedrestartCannotTell: it is said once, not at every look.
func TestNeedrestartCannotTell(t *testing.T) {
	answer := filepath.Join(t.TempDir(), "answer")
	fakeNeedrestart(t, "cat "+answer)
	var log bytes.Buffer
	n, err := newNeedrestart(slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for i, status := range []string{"0", "0", "1", "0"} {
		write(t, answer, "NEEDRESTART-KSTA: "+status+"\n")
		n.since = time.Time{} // long ago
		if why, err := n.Wanted(t.Context()); why != "" || err != nil {
			t.Errorf("%d: %q, %v", i, why, err)
		}
	}
	if got := strings.Count(log.String(), "cannot tell"); got != 2 {
		t.Errorf("said %d times, want 2:\n%s", got, &log)
	}
}

// TestRealNeedrestart: what it prints is understood, whatever it says.
func TestRealNeedrestart(t *testing.T) {
	n, err := newNeedrestart(silent())
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("needrestart is not installed (apt-get install needrestart): %v", err)
	}
	why, err := n.Wanted(t.Context())
	if err != nil && !strings.Contains(err.Error(), "no NEEDRESTART-KSTA") { // as in a container
		t.Error(err)
	}
	t.Logf("%q", why)
}

// TestNeedrestartIsRunSeldom: a run costs seconds of a processor, and the agent asks all the time. An error is asked again.
func TestNeedrestartIsRunSeldom(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	fakeNeedrestart(t, "echo >>"+runs+"; [ -s "+runs+".broken ] && exit 3; echo NEEDRESTART-KSTA: 2")
	n, err := newNeedrestart(silent())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(wantRuns int, fails bool) {
		t.Helper()
		why, err := n.Wanted(t.Context())
		if (err != nil) != fails || (why == "") != fails {
			t.Errorf("%q, %v", why, err)
		}
		if b, err := os.ReadFile(runs); err != nil || len(b) != wantRuns {
			t.Errorf("%d runs, want %d: %v", len(b), wantRuns, err)
		}
	}
	ask(1, false)
	ask(1, false)
	n.since = n.since.Add(-freshness)
	if err := os.WriteFile(runs+".broken", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	ask(2, true)
	ask(3, true)
}

func TestConfig(t *testing.T) {
	var c Config
	c.Defaults()
	if err := c.Validate(); err != nil || c.SentinelFile != "/run/reboot-required" || c.Needrestart || c.UpdateEngine || c.SentinelCommand != nil {
		t.Errorf("defaults: %+v, %v", c, err)
	}
	c = Config{UpdateEngine: true}
	if c.Defaults(); c.SentinelFile != "" {
		t.Errorf("a sentinel file beside what was chosen: %+v", c)
	}
	for want, c := range map[string]Config{
		"triggers: none is set":                        {},
		`triggers.sentinel_file: "run/reboot"`:         {SentinelFile: "run/reboot"},
		"triggers.sentinel_file: \"/run/\\x00\"":       {SentinelFile: "/run/\x00"},
		"triggers.sentinel_command: the program's":     {SentinelCommand: []string{""}},
		"triggers.sentinel_command: exec: \"no-progr":  {SentinelCommand: []string{"no-program-has-this-name"}},
		"triggers.sentinel_command: exec: \"/etc/pass": {SentinelFile: "/run/x", SentinelCommand: []string{"/etc/passwd"}},
	} {
		if _, err := New(c, silent()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := New(Config{Needrestart: true}, silent()); !errors.Is(err, exec.ErrNotFound) || !strings.HasPrefix(err.Error(), "triggers.needrestart: ") {
		t.Error(err)
	}
}

// TestSources: each is named in its reason, and one that fails neither wants a reboot nor hides who does.
func TestSources(t *testing.T) {
	fakeNeedrestart(t, "exit 3")
	file := filepath.Join(t.TempDir(), "reboot-required")
	s, err := New(Config{SentinelFile: file, SentinelCommand: []string{"sh", "-c", "echo yes; exit $A"}, Needrestart: true}, silent())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, source := range s.List() {
		names = append(names, source.Name())
	}
	if want := []string{"sentinel file " + file, "sentinel command sh", "needrestart"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	for _, c := range []struct {
		status  string
		file    bool
		reasons []string
	}{
		{"1", false, nil},
		{"0", false, []string{"sentinel command sh: yes"}},
		{"1", true, []string{"sentinel file " + file + ": it exists"}},
		{"0", true, []string{"sentinel file " + file + ": it exists", "sentinel command sh: yes"}},
	} {
		t.Setenv("A", c.status)
		if c.file {
			write(t, file, "")
		}
		reasons, err := s.Wanted(t.Context())
		if !slices.Equal(reasons, c.reasons) || err == nil || err.Error() != "trigger: needrestart: exit code 3" {
			t.Errorf("%+v: %q, %v", c, reasons, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ctx) // has nothing to do
}

func TestShorten(t *testing.T) {
	for _, n := range []int{0, 1, 299, 300, 301, 302, 303, 304} {
		for shift := range 3 {
			s := strings.Repeat("x", shift) + strings.Repeat("€", n)
			got := line.Of(s, maxWhy)
			checkReason(t, got)
			if len(s) <= maxWhy && got != s || len(s) > maxWhy && (!strings.HasSuffix(got, "…") || len(got) < maxWhy-3) {
				t.Errorf("%d: %q", len(s), got)
			}
		}
	}
}
