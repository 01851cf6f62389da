//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/e2e/cluster"
	"github.com/coordd/coordd/recipes/fence"
)

// runner is coordctl and a client on one coordd.
func runner(t *testing.T, endpoint string) (*tool, *clientv3.Client) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &tool{coordctl(t), endpoint}, c
}

// gone demands that nobody is left who has a command's standard output.
func (b *background) gone(t *testing.T) {
	t.Helper()
	if rest, err := b.stdout.ReadString('\n'); rest != "" || err == nil {
		t.Errorf("the command went on: %q", rest)
	}
}

// TestRunsOfOneLockFollowEachOther: the second begins when the first has ended, with a greater token.
func TestRunsOfOneLockFollowEachOther(t *testing.T) {
	t.Parallel()
	x, c := runner(t, coorddtest.Start(t))
	log := filepath.Join(t.TempDir(), "log")
	script := fmt.Sprintf("echo $COORDD_TOKEN; echo begin >>%s; sleep 0.3; echo end >>%s", log, log)
	var runs []*background
	for range 3 {
		runs = append(runs, x.start(t, "run", "--lock", "job", "--", "sh", "-c", script))
	}
	var tokens []fence.Token
	for _, b := range runs {
		token, err := fence.Parse(b.line(t))
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
		if code := b.end(t); code != 0 {
			t.Errorf("exit code %d: %s", code, b.stderr.String())
		}
	}
	for i, token := range tokens[1:] {
		if order, err := token.Compare(tokens[i]); order == 0 || err != nil {
			t.Errorf("tokens %s and %s: %d, %v", tokens[i], token, order, err)
		}
	}
	if text, err := os.ReadFile(log); err != nil || string(text) != strings.Repeat("begin\nend\n", 3) {
		t.Errorf("they ran so: %q, %v", text, err)
	}
	awaitKeys(t, c, "/coordd/locks/", 0)
}

// TestRunPassesSignalsOn to the whole group of the command, and not Ctrl-Z.
func TestRunPassesSignalsOn(t *testing.T) {
	t.Parallel()
	x, c := runner(t, coorddtest.Start(t))
	b := x.start(t, "run", "--lock", "signals", "--", "sh", "-c", `
		for s in INT HUP QUIT USR1 USR2; do trap "echo $s" $s; done
		trap 'echo TERM; exit 9' TERM
		echo ready; while :; do sleep 0.05; done`)
	if got := b.line(t); got != "ready" {
		t.Fatalf("first line %q", got)
	}
	b.Process.Signal(syscall.SIGTSTP)
	for _, s := range []struct {
		signal syscall.Signal
		name   string
	}{
		{syscall.SIGHUP, "HUP"}, {syscall.SIGUSR1, "USR1"}, {syscall.SIGUSR2, "USR2"},
		{syscall.SIGQUIT, "QUIT"}, {syscall.SIGINT, "INT"}, {syscall.SIGTERM, "TERM"},
	} {
		b.Process.Signal(s.signal)
		if got := b.line(t); got != s.name {
			t.Errorf("after %v: %q", s.signal, got)
		}
	}
	if code := b.end(t); code != 9 {
		t.Errorf("exit code %d, want the command's 9: %s", code, b.stderr.String())
	}
	awaitKeys(t, c, "/coordd/locks/", 0)
}

// TestRunHoldsUntilTheGroupIsGone: the command has ended, what it has started has not.
func TestRunHoldsUntilTheGroupIsGone(t *testing.T) {
	t.Parallel()
	x, c := runner(t, coorddtest.Start(t))
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	b := x.start(t, "run", "--lock", "group", "--", "sh", "-c", "(read x <"+fifo+"; echo late) & echo $$; exit 5")
	pid := b.line(t)
	awaitNoProcess(t, pid)
	awaitKeys(t, c, "/coordd/locks/group/", 1)
	if err := os.WriteFile(fifo, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := b.line(t); got != "late" {
		t.Errorf("the rest wrote %q", got)
	}
	if code := b.end(t); code != 5 {
		t.Errorf("exit code %d, want the command's 5", code)
	}
	awaitKeys(t, c, "/coordd/locks/group/", 0)
}

// awaitNoProcess waits until nobody has a process ID.
func awaitNoProcess(t *testing.T, pid string) {
	t.Helper()
	for range 1000 {
		if _, err := os.Stat("/proc/" + pid); os.IsNotExist(err) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("process %s is still there", pid)
}

// TestRunKillsTheGroupOfALostLock: with what the command has started, that ignores all but KILL.
func TestRunKillsTheGroupOfALostLock(t *testing.T) {
	t.Parallel()
	x, c := runner(t, coorddtest.Start(t))
	for name, lose := range map[string]func(key string) error{
		"key deleted": func(key string) error {
			_, err := c.Delete(t.Context(), key)
			return err
		},
		"lease revoked": func(key string) error {
			resp, err := c.Get(t.Context(), key)
			if err == nil {
				_, err = c.Revoke(t.Context(), clientv3.LeaseID(resp.Kvs[0].Lease))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := x.start(t, "run", "--lock", name, "--", "sh", "-c", "trap '' TERM INT; (while :; do sleep 600; done) & echo $COORDD_LOCK_KEY; wait")
			if err := lose(b.line(t)); err != nil {
				t.Fatal(err)
			}
			b.gone(t)
			if code := b.end(t); code != exitLost {
				t.Errorf("exit code %d, want %d", code, exitLost)
			}
			if text := b.stderr.String(); !strings.Contains(text, "lost what was held: ") || !strings.Contains(text, "; killed sh") {
				t.Errorf("stderr: %s", text)
			}
		})
	}
}

// TestRunEndsBeforeAnotherMayHold: the cluster stands still, the command is asked to end and then killed, while by the
// local clock the lock is still its own.
func TestRunEndsBeforeAnotherMayHold(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	coordd, err := cluster.Start(ctx, cluster.Spec{Program: "../../bin/coordd", Size: 1, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coordd.Kill)
	x, _ := runner(t, coordd.Endpoints()[0])
	scripts := map[string]string{ // by what is done to them in the end
		"terminated": "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.05; done",
		"killed":     "trap 'echo asked' TERM; (trap '' TERM; exec sleep 600) & echo ready; while :; do sleep 0.05; done",
	}
	runs := map[string]*background{}
	for did, script := range scripts {
		runs[did] = x.start(t, "run", "--lock", did, "--ttl", "6", "--kill-after", "1s", "--", "sh", "-c", script)
	}
	for _, b := range runs {
		if got := b.line(t); got != "ready" {
			t.Fatalf("first line %q: %s", got, b.stderr.String())
		}
	}
	if err := syscall.Kill(coordd.Members[0].PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for did, b := range runs {
		if got := b.line(t); got != "asked" {
			t.Errorf("%s: it wrote %q", did, got)
		}
		b.gone(t)
	}
	if err := syscall.Kill(coordd.Members[0].PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for did, b := range runs {
		if code := b.end(t); code != exitLost {
			t.Errorf("%s: exit code %d, want %d", did, code, exitLost)
		}
		want := regexp.MustCompile(`the cluster has not answered in time, in [0-9.]+m?s another may hold it; ` + did + ` sh\n`)
		if text := b.stderr.String(); !want.MatchString(text) {
			t.Errorf("%s: stderr: %s", did, text)
		}
	}
}

// TestRunDoesNotLeaveTheCommandBehind: coordctl is killed, and the command with it.
func TestRunDoesNotLeaveTheCommandBehind(t *testing.T) {
	t.Parallel()
	x, _ := runner(t, coorddtest.Start(t))
	b := x.start(t, "run", "--lock", "killed", "--", "sh", "-c", "echo $$; exec sleep 600")
	b.line(t)
	b.Process.Kill()
	b.gone(t)
}
