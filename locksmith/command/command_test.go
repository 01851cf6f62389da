package command

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		argv   []string
		code   int
		stdout string
		stderr string
	}{
		"success":                {shell("echo yes"), 0, "yes\n", ""},
		"an exit code":           {shell("echo no; echo why >&2; exit 3"), 3, "no\n", "why\n"},
		"no shell":               {[]string{"/bin/echo", "$HOME; ls"}, 0, "$HOME; ls\n", ""},
		"no input":               {[]string{"/bin/cat"}, 0, "", ""},
		"the environment":        {shell("echo $A$NOTIFY_SOCKET$LOCKSMITHD_ETCD_PASSWORD"), 0, "2\n", ""},
		"its own exit code 137":  {shell("exit 137"), 137, "", ""},
		"a signal that it traps": {shell("trap 'exit 7' TERM; kill $$"), 7, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
			t.Setenv("LOCKSMITHD_ETCD_PASSWORD", "s3cret")
			t.Setenv("A", "1")
			r, err := Run(t.Context(), c.argv, Options{Env: []string{"A=2"}})
			if err != nil || r != (Result{ExitCode: c.code, Stdout: c.stdout, Stderr: c.stderr}) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestRunFails(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for name, c := range map[string]struct {
		argv []string
		want error
		text string
	}{
		"nothing":                {nil, nil, "name is missing"},
		"an empty name":          {[]string{""}, nil, "name is missing"},
		"a zero byte":            {[]string{"/bin/echo", "a\x00b"}, nil, "zero byte"},
		"no such file":           {[]string{missing}, fs.ErrNotExist, missing},
		"not in the path":        {[]string{"no-program-has-this-name"}, exec.ErrNotFound, ""},
		"a directory":            {[]string{t.TempDir()}, nil, "permission denied"},
		"a signal":               {shell("kill -SEGV $$"), nil, "segmentation fault"},
		"killed by someone else": {shell("kill -9 $$"), nil, "signal: killed"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Run(t.Context(), c.argv, Options{})
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || r.ExitCode != -1 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestKillsTheGroup: children that ignore every request to end, too, when the time is over.
func TestKillsTheGroup(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	late := errors.New("it is late")
	var pids []string
	r, err := Run(ctx, shell(`trap "" TERM INT HUP; (trap "" TERM; echo ready; while :; do sleep 60; done) & echo $$; wait; wait`),
		Options{Line: func(line string) {
			pids = append(pids, line)
			if len(pids) == 2 {
				cancel(late)
			}
		}})
	if !errors.Is(err, late) || r.ExitCode != -1 {
		t.Fatalf("%+v, %v", r, err)
	}
	slices.Sort(pids)
	awaitGone(t, pids[0])
}

// TestKillsWhatIsLeft: a program that ends and leaves a child behind.
func TestKillsWhatIsLeft(t *testing.T) {
	r, err := Run(t.Context(), shell(`sleep 600 & echo $$`), Options{})
	if err != nil || r.ExitCode != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	awaitGone(t, strings.TrimSpace(r.Stdout))
}

// awaitGone waits until nobody of a process group is left but those that nobody has waited for.
func awaitGone(t *testing.T, group string) {
	t.Helper()
	for {
		out, err := exec.CommandContext(t.Context(), "ps", "-A", "-o", "pgid=,stat=").Output()
		if err != nil {
			t.Fatal(err)
		}
		alive := slices.ContainsFunc(strings.Split(string(out), "\n"), func(line string) bool {
			f := strings.Fields(line)
			return len(f) == 2 && f[0] == group && !strings.HasPrefix(f[1], "Z")
		})
		if !alive {
			return
		}
	}
}

// TestLeavesASession: one that has left the group keeps the output open; that is waited for shortly, not for ever.
func TestLeavesASession(t *testing.T) {
	r, err := Run(t.Context(), shell(`mkfifo $F; setsid sh -c 'echo $$ > $F; exec sleep 600' & cat $F`),
		Options{Env: []string{"F=" + filepath.Join(t.TempDir(), "fifo")}})
	if err != nil || r.ExitCode != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(r.Stdout))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the session is not alive: %v", err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	lines, longest := 0, 0
	r, err := Run(t.Context(), shell(`head -c 10000000 /dev/zero; yes | head -c 10000000; head -c 10000000 /dev/zero >&2; exit 4`),
		Options{Line: func(line string) { lines, longest = lines+1, max(longest, len(line)) }})
	if err != nil || r.ExitCode != 4 {
		t.Fatal(r.ExitCode, err)
	}
	if len(r.Stdout) != MaxOutput || len(r.Stderr) != MaxOutput || lines != MaxLines+1 || longest > MaxLine {
		t.Errorf("%d and %d bytes, %d lines, the longest of %d", len(r.Stdout), len(r.Stderr), lines, longest)
	}
}

func TestLines(t *testing.T) {
	var got []string
	_, err := Run(t.Context(), shell(`printf 'one\n\ntwo\033[31m\nthr'; sleep 0.05; printf 'ee\n\200last'`), Options{Line: func(line string) { got = append(got, line) }})
	if want := []string{"one", "", "two [31m", "three", " last"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFirstLine(t *testing.T) {
	for _, c := range []struct{ stdout, stderr, first, complaint string }{
		{"", "", "", ""},
		{"\n \n a kernel \nmore", "", "a kernel", "a kernel"},
		{"out", "\terr\x00or\r\n", "out", "err or"},
		{strings.Repeat("ä", 1000), "", strings.Repeat("ä", 150), strings.Repeat("ä", 150)},
		{"\xff\xfe", "", "", ""},
	} {
		r := Result{Stdout: c.stdout, Stderr: c.stderr}
		if r.FirstLine() != c.first || r.Complaint() != c.complaint {
			t.Errorf("%q: %q, %q", c, r.FirstLine(), r.Complaint())
		}
	}
}

// TestContextIsOver: nothing is started any more.
func TestContextIsOver(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	if r, err := Run(ctx, shell("echo no"), Options{}); !errors.Is(err, context.DeadlineExceeded) || r.Stdout != "" {
		t.Errorf("%+v, %v", r, err)
	}
}
