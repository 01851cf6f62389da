package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// background is a tool that runs until it is told to end.
type background struct {
	*exec.Cmd
	stdout *bufio.Reader
	stderr strings.Builder
}

// start starts a tool. Its standard input stays open until the test ends.
func (x *tool) start(t *testing.T, args ...string) *background {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	b := &background{Cmd: exec.CommandContext(ctx, x.program, append([]string{"--endpoints", x.endpoint}, args...)...)}
	b.Cmd.Stderr = &b.stderr
	b.Cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	out, err := b.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.stdout = bufio.NewReader(out)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		b.Wait()
	})
	return b
}

func (b *background) line(t *testing.T) string {
	t.Helper()
	line, err := b.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v; stderr:\n%s", line, err, b.stderr.String())
	}
	return strings.TrimSuffix(line, "\n")
}

// end waits for the end and returns the exit code.
func (b *background) end(t *testing.T) int {
	t.Helper()
	var exit *exec.ExitError
	if err := b.Wait(); errors.As(err, &exit) {
		return exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return 0
}

// locker is coordctl, etcdctl and a client on one etcd.
func locker(t *testing.T) (ours, theirs *tool, c *clientv3.Client) {
	t.Helper()
	endpoint := startEtcd(t)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &tool{coordctl(t), endpoint}, &tool{etcdctl, endpoint}, c
}

// TestLockExcludesEtcdctl: coordctl waits for etcdctl's lock of the same name, and etcdctl for coordctl's.
func TestLockExcludesEtcdctl(t *testing.T) {
	t.Parallel()
	ours, theirs, c := locker(t)
	for _, order := range [][2]*tool{{ours, theirs}, {theirs, ours}} {
		first := order[0].start(t, "lock", "name")
		key := first.line(t)
		second := order[1].start(t, "lock", "name")
		awaitKeys(t, c, "name/", 2)
		resp, err := c.Get(t.Context(), "name/", clientv3.WithFirstCreate()...)
		if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Key) != key {
			t.Fatalf("the first in the queue is %v, %v; want %s", resp, err, key)
		}
		if n := second.stdout.Buffered(); n != 0 {
			t.Fatal("both hold the lock")
		}
		first.Process.Signal(os.Interrupt)
		if code := first.end(t); code != 0 {
			t.Errorf("the first ended with %d: %s", code, first.stderr.String())
		}
		if next := second.line(t); next == key || !strings.HasPrefix(next, "name/") {
			t.Errorf("the second holds %q", next)
		}
		second.Process.Signal(syscall.SIGTERM)
		second.end(t)
	}
}

// awaitKeys waits until there are n keys with a prefix.
func awaitKeys(t *testing.T, c *clientv3.Client, prefix string, n int64) {
	t.Helper()
	resp, err := c.Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	count := resp.Count
	changes := c.Watch(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithRev(resp.Header.GetRevision()+1))
	for count != n {
		change, ok := <-changes
		if !ok {
			t.Fatalf("%d keys with %s, not %d: %v", count, prefix, n, t.Context().Err())
		}
		for _, e := range change.Events {
			if e.IsCreate() {
				count++
			} else if e.Type == clientv3.EventTypeDelete {
				count--
			}
		}
	}
}

// TestLostLockKillsTheCommand: however the lock is lost, the command and what it has started end at once.
func TestLostLockKillsTheCommand(t *testing.T) {
	t.Parallel()
	ours, _, c := locker(t)
	for name, lose := range map[string]func(key string, lease int64) error{
		"key deleted": func(key string, _ int64) error {
			_, err := c.Delete(t.Context(), key)
			return err
		},
		"lease revoked": func(_ string, lease int64) error {
			_, err := c.Revoke(t.Context(), clientv3.LeaseID(lease))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := ours.start(t, "lock", "lost", "--", "sh", "-c", "sleep 600 & echo $ETCD_LOCK_KEY; wait")
			key := b.line(t)
			resp, err := c.Get(t.Context(), key)
			if err != nil || len(resp.Kvs) != 1 {
				t.Fatalf("key %q: %v, %v", key, resp, err)
			}
			if err := lose(key, resp.Kvs[0].GetLease()); err != nil {
				t.Fatal(err)
			}
			// The pipe is at its end only when the last process that has it, the sleep, is gone.
			if rest, err := b.stdout.ReadString('\n'); rest != "" || err == nil {
				t.Errorf("the command went on: %q", rest)
			}
			if code := b.end(t); code != exitError {
				t.Errorf("exit code %d, want %d", code, exitError)
			}
			if text := b.stderr.String(); !strings.Contains(text, "lost what was held: ") || !strings.Contains(text, "killed sh") {
				t.Errorf("stderr: %s", text)
			}
		})
	}
}

// TestLockForwardsSignals: the command gets the signals and decides; the lock is given up when it has ended.
func TestLockForwardsSignals(t *testing.T) {
	t.Parallel()
	ours, _, c := locker(t)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		b := ours.start(t, "lock", "signals", "--", "sh", "-c", "trap 'echo trapped; exit 9' INT TERM; echo ready; while :; do sleep 0.1; done")
		if got := b.line(t); got != "ready" {
			t.Fatalf("first line %q", got)
		}
		b.Process.Signal(s)
		if got := b.line(t); got != "trapped" {
			t.Errorf("after %v: %q", s, got)
		}
		if code := b.end(t); code != 9 {
			t.Errorf("after %v: exit code %d, want the command's 9", s, code)
		}
		awaitKeys(t, c, "signals/", 0)
	}
}

// TestInterruptedWaitLeavesTheQueue: who is interrupted while waiting fails, since the command has not run.
func TestInterruptedWaitLeavesTheQueue(t *testing.T) {
	t.Parallel()
	ours, _, c := locker(t)
	first := ours.start(t, "lock", "queue")
	first.line(t)
	second := ours.start(t, "lock", "queue", "--", "echo", "ran")
	awaitKeys(t, c, "queue/", 2)
	second.Process.Signal(os.Interrupt)
	if code := second.end(t); code != exitError {
		t.Errorf("exit code %d, want %d", code, exitError)
	}
	awaitKeys(t, c, "queue/", 1)
}

// TestElection: a listener sees each leader, etcdctl's too, and the next leads when the one before resigns.
func TestElection(t *testing.T) {
	t.Parallel()
	ours, theirs, c := locker(t)
	listener := ours.start(t, "elect", "-l", "e")
	first := ours.start(t, "elect", "e", "one")
	key := first.line(t)
	if got := listener.line(t); got != key {
		t.Errorf("the listener sees %q, want %q", got, key)
	}
	if got := listener.line(t); got != "one" {
		t.Errorf("the listener sees the proposal %q", got)
	}
	second := theirs.start(t, "elect", "e", "two")
	awaitKeys(t, c, "e/", 2)
	first.Process.Signal(os.Interrupt)
	if code := first.end(t); code != 0 {
		t.Errorf("the first ended with %d: %s", code, first.stderr.String())
	}
	if got := second.line(t); got == key {
		t.Errorf("the second has the first's key")
	}
	listener.line(t)
	if got := listener.line(t); got != "two" {
		t.Errorf("the listener sees the proposal %q", got)
	}
	listener.Process.Signal(os.Interrupt)
	if code := listener.end(t); code != 0 {
		t.Errorf("the listener ended with %d: %s", code, listener.stderr.String())
	}
}
