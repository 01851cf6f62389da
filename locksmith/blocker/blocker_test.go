package blocker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/login1/login1test"
)

// blocks asks the blockers of a configuration.
func blocks(t *testing.T, c Config, s Sources) []string {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	b, err := New(c, s)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, r := range b.Blocks(t.Context()) {
		text = append(text, r.String())
	}
	return text
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

// TestLogind: as logind tells it over the bus.
func TestLogind(t *testing.T) {
	l := login1test.Start(t)
	var conn login1.Conn
	s := Sources{Inhibitors: conn.Inhibitors, Sessions: conn.Sessions}
	c := Config{Inhibitors: true, Users: Users{Block: true}}
	expect(t, blocks(t, c, s))

	l.SetInhibitors(
		login1.Inhibitor{What: "shutdown:sleep", Who: "apt", Why: "unattended upgrade", Mode: "block", PID: 412},
		login1.Inhibitor{What: "shutdown", Who: "a \x1b[31mred\n one", Mode: "block", PID: 7},
		login1.Inhibitor{What: "shutdown", Who: "later", Why: "a moment", Mode: "delay", PID: 8},
		login1.Inhibitor{What: "sleep", Who: "player", Why: "a film", Mode: "block", PID: 9},
	)
	l.SetSessions(
		login1.Session{ID: "1", UID: 1000, User: "anna", TTY: "tty1", Class: "user", State: "active"},
		login1.Session{ID: "2", UID: 1001, User: "ben", Remote: true, RemoteHost: "10.0.0.7", TTY: "pts/0", Class: "user", State: "online"},
		login1.Session{ID: "3", UID: 108, User: "gdm", Class: "greeter", State: "active"},
	)
	inhibited := []string{"inhibitor: apt (pid 412) blocks shutdown: unattended upgrade", "inhibitor: a [31mred one (pid 7) blocks shutdown: no reason is given"}
	expect(t, blocks(t, c, s), append(inhibited, "users: anna on tty1 is logged in", "users: ben from 10.0.0.7 is logged in")...)

	c.Users.Grace = time.Minute // then it is the business of Grace
	expect(t, blocks(t, c, s), inhibited...)
	expect(t, blocks(t, Config{}, s))

	l.Bus.Stop()
	c.Users.Grace = 0
	for _, reason := range blocks(t, c, s) {
		if !strings.Contains(reason, ": cannot tell, and so blocks: login1: ") {
			t.Errorf("without a bus: %s", reason)
		}
	}
}

func TestCommands(t *testing.T) {
	hang := `trap "" TERM; (trap "" TERM; sleep 600) & while :; do sleep 60; done`
	for name, c := range map[string]struct {
		argv []string
		want []string
	}{
		"lets it reboot":        {shell("echo all is well; exit 0"), nil},
		"forbids it":            {shell("echo; echo a backup runs; echo more; exit 1"), []string{"command: /bin/sh: a backup runs"}},
		"forbids it in silence": {shell("echo on stderr >&2; exit 1"), []string{"command: /bin/sh: no reason is given"}},
		"floods":                {shell("yes no | head -c 10000000; exit 1"), []string{"command: /bin/sh: no"}},
		"fails":                 {shell("echo no disk >&2; exit 2"), []string{"command: cannot tell, and so blocks: /bin/sh: exit code 2: no disk"}},
		"is missing":            {[]string{"/nowhere/check"}, []string{"command: cannot tell, and so blocks: command: start: fork/exec /nowhere/check: no such file or directory"}},
		"crashes":               {shell("kill -SEGV $$"), []string{"command: cannot tell, and so blocks: command: /bin/sh: signal: segmentation fault (core dumped)"}},
		"hangs":                 {shell(hang), []string{"command: cannot tell, and so blocks: command: /bin/sh has not ended in time: context deadline exceeded after 100ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Commands: [][]string{c.argv}}
			if name == "hangs" {
				cfg.Timeout = 100 * time.Millisecond
			}
			got := blocks(t, cfg, Sources{})
			for i := range got {
				got[i] = strings.Replace(got[i], "fault (core dumped)", "fault", 1)
				c.want[i] = strings.Replace(c.want[i], "fault (core dumped)", "fault", 1)
			}
			expect(t, got, c.want...)
		})
	}
}

// meeting is a blocker that answers when all of them have been asked.
type meeting struct {
	came chan struct{}
	all  chan struct{}
}

func (meeting) Name() string { return "meeting" }

func (m meeting) Blocks(ctx context.Context) ([]string, error) {
	m.came <- struct{}{}
	select {
	case <-m.all:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func TestAllAreAskedAtOnce(t *testing.T) {
	m := meeting{make(chan struct{}, 3), make(chan struct{})}
	b := &Blockers{timeout: time.Minute, list: []Blocker{m, m, m}}
	go func() {
		for range 3 {
			<-m.came
		}
		close(m.all)
	}()
	if r := b.Blocks(t.Context()); len(r) != 0 {
		t.Errorf("%v", r)
	}
}

// talkative is a blocker with too many words and an error.
type talkative struct{}

func (talkative) Name() string { return "talk" }

func (talkative) Blocks(context.Context) (why []string, err error) {
	for i := range maxReasons + 3 {
		why = append(why, fmt.Sprint(i, " ", strings.Repeat("ä", 10*maxWhy)))
	}
	return why, errors.New("one\ntwo")
}

func TestReasonsAreBounded(t *testing.T) {
	r := (&Blockers{timeout: time.Minute, list: []Blocker{talkative{}}}).Blocks(t.Context())
	if len(r) != maxReasons+2 || r[maxReasons].String() != "talk: and 3 more" || r[maxReasons+1].String() != "talk: cannot tell, and so blocks: one two" || !r[maxReasons+1].Failed {
		t.Errorf("%+v", r[min(len(r), maxReasons):])
	}
	for _, reason := range r {
		if len(reason.Why) > maxWhy || strings.ContainsRune(reason.Why, '\uFFFD') {
			t.Errorf("%d bytes", len(reason.Why))
		}
	}
}

func TestConfig(t *testing.T) {
	var c Config
	c.Defaults()
	if err := c.Validate(); err != nil || !c.Inhibitors || !c.Quorum || c.Users != (Users{Block: true, Grace: 5 * time.Minute}) {
		t.Errorf("defaults: %+v, %v", c, err)
	}
	const text = `
inhibitors: false
users: {block: true, grace: 0s, message: Save your work.}
commands: [[/bin/busy, -q]]
prometheus: {url: 'https://p:9090/prefix/', ignore: 'Watchdog|Info.*', only: 'Db.*', token_file: /token, ca_file: /ca.pem}
quorum: false
timeout: 9s
`
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	want := Prometheus{"https://p:9090/prefix/", "Watchdog|Info.*", "Db.*", "/token", "/ca.pem"}
	if err := c.Validate(); err != nil || c.Inhibitors || c.Quorum || c.Users != (Users{true, 0, "Save your work."}) || c.Commands[0][1] != "-q" || c.Prometheus != want || c.Timeout != 9*time.Second {
		t.Errorf("%+v, %v", c, err)
	}
	for want, c := range map[string]Config{
		"blockers.users.grace: -5m0s must not be negative":                            {Timeout: 1, Users: Users{Grace: -5 * time.Minute}},
		"blockers.timeout: 0s must be above 0s and at most 2m0s":                      {},
		"blockers.timeout: 2m1s must be above 0s and at most 2m0s":                    {Timeout: 121 * time.Second},
		"blockers.commands[1]: the program's name is missing":                         {Timeout: 1, Commands: [][]string{{"/bin/true"}, {}}},
		"blockers.prometheus.url: \"p:9090\" must begin with http:// or https://":     {Timeout: 1, Prometheus: Prometheus{URL: "p:9090"}},
		"blockers.prometheus.url: is empty, but other settings of prometheus are not": {Timeout: 1, Prometheus: Prometheus{Ignore: "x"}},
		"blockers.prometheus.ignore: error parsing regexp: missing closing ): `(a`":   {Timeout: 1, Prometheus: Prometheus{URL: "http://p", Ignore: "(a"}},
		"blockers.prometheus.only: error parsing regexp: unexpected ): `a)(b`":        {Timeout: 1, Prometheus: Prometheus{URL: "http://p", Only: "a)(b"}},
	} {
		if err := c.Validate(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		if b, err := New(c, Sources{}); err == nil {
			t.Errorf("%s: %+v", want, b)
		}
	}
}
