package hooks

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

// runner has all programs append to one file, trace, and log without times.
func runner(t *testing.T, c Config) (r *Runner, trace func() []string, log *bytes.Buffer) {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "trace")
	t.Setenv("TRACE", file)
	log = new(bytes.Buffer)
	drop := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "took" {
			return slog.Attr{}
		}
		return a
	}
	return &Runner{Config: c, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: drop}))}, func() []string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}, log
}

func TestOrderAndEnvironment(t *testing.T) {
	const tell = `echo "$LOCKSMITH_HOOK $LOCKSMITH_GROUP $LOCKSMITH_MACHINE_ID $LOCKSMITH_HOSTNAME $LOCKSMITH_ZONE $LOCKSMITH_REASON $LOCKSMITH_BOOT_ID $LOCKSMITH_FENCE $LOCKSMITH_REBOOTED" >> $TRACE`
	r, trace, log := runner(t, Config{
		Before: [][]string{shell(tell), shell("echo 2 >> $TRACE; echo drained; echo careful >&2"), shell("echo 3 >> $TRACE")},
		After:  [][]string{shell(tell)},
	})
	reboot := Reboot{Group: "web", MachineID: "m1", Hostname: "one", Zone: "a", Reason: "a kernel; $(id)\x00", BootID: "b1", Fence: 42}
	if err := r.Before(t.Context(), reboot); err != nil {
		t.Fatal(err)
	}
	reboot.Rebooted, reboot.BootID = true, "b2"
	if err := r.After(t.Context(), reboot); err != nil {
		t.Fatal(err)
	}
	want := []string{"before web m1 one a a kernel; $(id)  b1 42 false", "2", "3", "after web m1 one a a kernel; $(id)  b2 42 true"}
	if got := trace(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for _, line := range []string{
		"level=INFO msg=drained hook=before program=/bin/sh\n",
		"level=INFO msg=careful hook=before program=/bin/sh\n",
		"level=INFO msg=\"hook has run\" hook=after program=/bin/sh\n",
	} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("%q is not in the log:\n%s", line, log)
		}
	}
}

func TestFirstFailureEnds(t *testing.T) {
	for name, c := range map[string]struct {
		program []string
		want    string
	}{
		"an exit code":      {shell("echo pods are left >&2; exit 3"), "hooks: before: /bin/sh: exit code 3: pods are left"},
		"a silent failure":  {shell("exit 1"), "hooks: before: /bin/sh: exit code 1"},
		"a missing program": {[]string{"/nowhere/drain"}, "hooks: before: command: start: fork/exec /nowhere/drain: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			r, trace, _ := runner(t, Config{Before: [][]string{shell("echo first >> $TRACE"), c.program, shell("echo third >> $TRACE")}})
			err := r.Before(t.Context(), Reboot{})
			if err == nil || err.Error() != c.want {
				t.Errorf("%v", err)
			}
			if got := trace(); !slices.Equal(got, []string{"first"}) {
				t.Errorf("%q ran", got)
			}
		})
	}
}

func TestHangIsKilled(t *testing.T) {
	r, _, _ := runner(t, Config{After: [][]string{shell(`trap "" TERM; while :; do sleep 60; done`)}, Timeout: 50 * time.Millisecond})
	err := r.After(t.Context(), Reboot{})
	if err == nil || err.Error() != "hooks: after: command: /bin/sh has not ended in time: context deadline exceeded after 50ms" {
		t.Errorf("%v", err)
	}
}

// TestEndsWithTheContext: the agent is told to stop.
func TestEndsWithTheContext(t *testing.T) {
	r, _, _ := runner(t, Config{After: [][]string{shell("sleep 600")}})
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("the agent stops")
	cancel(stopped)
	if err := r.After(ctx, Reboot{}); err == nil || !errors.Is(err, context.Canceled) && !errors.Is(err, stopped) {
		t.Errorf("%v", err)
	}
}

func TestConfig(t *testing.T) {
	var c Config
	c.Defaults()
	if err := c.Validate(); err != nil || c.Timeout != 5*time.Minute {
		t.Errorf("%+v, %v", c, err)
	}
	if err := yaml.Unmarshal([]byte("before: [[/bin/drain, --all]]\nafter: [[/bin/undrain]]\ntimeout: 90s\n"), &c); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil || c.Timeout != 90*time.Second || c.Before[0][1] != "--all" || c.After[0][0] != "/bin/undrain" {
		t.Errorf("%+v, %v", c, err)
	}
	c = Config{Timeout: -time.Second, Before: [][]string{{"/bin/true"}, {}}, After: [][]string{{""}}}
	const want = `hooks.timeout: -1s must be above 0
hooks.before[1]: the program's name is missing
hooks.after[0]: the program's name is missing`
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}
