package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/recipes"
)

// outline is one state of coordctl locks -w json --watch.
func outline(t *testing.T, line string) string {
	t.Helper()
	var state listings
	if err := json.Unmarshal([]byte(line), &state); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	var parts []string
	for _, l := range state.Listings {
		for _, p := range l.Places {
			parts = append(parts, l.Kind+" "+l.Name+" "+string(p.State)+" "+p.Holder.Reason)
		}
	}
	return strings.Join(parts, ", ")
}

// awaitState reads states until one is as wanted: what comes quickly one after the other may be shown together.
func awaitState(t *testing.T, b *background, want string) {
	t.Helper()
	for {
		if outline(t, b.line(t)) == want {
			return
		}
	}
}

// TestLocksWatch shows each change once, and who yields.
func TestLocksWatch(t *testing.T) {
	t.Parallel()
	x, _ := runner(t, coorddtest.Start(t))
	watch := x.start(t, "locks", "--watch", "-w", "json")
	if got := watch.line(t); got != `{"listings":[]}` {
		t.Errorf("first it shows %s", got)
	}
	first := x.start(t, "semaphore", "acquire", "s", "--limit", "1", "--reason", "first", "--yield")
	first.line(t)
	awaitState(t, watch, "semaphore s holding first")
	second := x.start(t, "semaphore", "acquire", "s", "--reason", "second")
	awaitState(t, watch, "semaphore s holding first, semaphore s waiting second")
	x.start(t, "locks", "ask", "s").end(t)
	if code := first.end(t); code != 0 {
		t.Errorf("who was asked ended with %d: %s", code, first.stderr.String())
	}
	awaitState(t, watch, "semaphore s holding second")
	x.start(t, "locks", "break", "s", "--force", "--reason", "enough").end(t)
	if code := second.end(t); code != exitLost || !strings.Contains(second.stderr.String(), `"enough"`) {
		t.Errorf("whose slot was broken ended with %d: %s", code, second.stderr.String())
	}
	awaitState(t, watch, "")
	watch.Process.Signal(os.Interrupt)
	if code := watch.end(t); code != 0 {
		t.Errorf("the watch ended with %d: %s", code, watch.stderr.String())
	}
}

// TestLeaderYields: a leader that is asked resigns.
func TestLeaderYields(t *testing.T) {
	t.Parallel()
	x, _ := runner(t, coorddtest.Start(t))
	listener := x.start(t, "elect", "-l", "e", "--etcd-layout=false")
	leader := x.start(t, "elect", "e", "one", "--etcd-layout=false", "--yield")
	key := leader.line(t)
	if got := listener.line(t); got != key {
		t.Errorf("the listener sees %q, want %q", got, key)
	}
	x.start(t, "locks", "ask", "e", "--reason", "please").end(t)
	if code := leader.end(t); code != 0 || !strings.Contains(leader.stderr.String(), `"please"`) {
		t.Errorf("it ended with %d: %s", code, leader.stderr.String())
	}
}

// TestDoubleBarrierBreaks for those who wait, when one gives up.
func TestDoubleBarrierBreaks(t *testing.T) {
	t.Parallel()
	x, c := runner(t, coorddtest.Start(t))
	parties := []*background{
		x.start(t, "barrier", "enter", "d", "--parties", "3"), x.start(t, "barrier", "enter", "d", "--parties", "3"),
	}
	awaitKeys(t, c, "/coordd/double-barriers/d/g/", 2)
	parties[0].Process.Signal(os.Interrupt)
	for i, want := range []int{exitNotAcquired, exitLost} {
		if code := parties[i].end(t); code != want {
			t.Errorf("party %d ended with %d, want %d: %s", i, code, want, parties[i].stderr.String())
		}
	}
}

// TestBreakDelayed: what a lock delay keeps from others can be given free.
func TestBreakDelayed(t *testing.T) {
	t.Parallel()
	x, c := runner(t, coorddtest.Start(t))
	s, err := recipes.NewSession(t.Context(), c, &recipes.SessionOptions{LockDelay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := recipes.NewMutex(s, "d", nil).Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Revoke(context.WithoutCancel(t.Context()), s.Lease()); err != nil { // as if it had crashed
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if got := x.start(t, "locks", "-w", "json").line(t); outline(t, got) != "lock d delayed " {
		t.Errorf("it shows %s", got)
	}
	b := x.start(t, "locks", "break", "d", "--force", "--reason", "it is dead")
	if code := b.end(t); code != 0 {
		t.Errorf("the break ended with %d: %s", code, b.stderr.String())
	}
	if code := x.start(t, "run", "--lock", "d", "--timeout", "0", "--", "true").end(t); code != 0 {
		t.Errorf("the lock is not free: %d", code)
	}
}

func TestAgeText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Minute: "0s", 0: "0s", 999 * time.Millisecond: "0s", 62 * time.Second: "1m2s", 59*time.Minute + 59*time.Second: "59m59s",
		time.Hour: "1h0m", 23*time.Hour + 59*time.Minute: "23h59m", 49 * time.Hour: "2d1h",
	} {
		if got := ageText(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

// TestLocksOnAScreen: what changes is drawn in place.
func TestLocksOnAScreen(t *testing.T) {
	var out bytes.Buffer
	w := &locksWatch{printer: &printer{out: &out, format: "simple"}, screen: true, shown: &listings{now: time.Unix(0, 0)}}
	if err := w.draw(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "\x1b[H\x1b[2J1970-01-01") && !strings.HasPrefix(out.String(), "\x1b[H\x1b[2J1969-12-31") {
		t.Errorf("%q", out.String())
	}
}
