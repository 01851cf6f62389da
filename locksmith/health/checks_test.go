package health

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// serve answers what a path asks for.
func serve(t *testing.T) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			fmt.Fprint(w, "status: green")
		case "/sick":
			http.Error(w, "status: red", http.StatusServiceUnavailable)
		case "/elsewhere":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/hang":
			<-r.Context().Done()
		case "/flood":
			w.Write(make([]byte, 3*maxBody))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestHTTP(t *testing.T) {
	url := serve(t)
	for name, c := range map[string]struct {
		check HTTPCheck
		why   string
	}{
		"success":          {HTTPCheck{URL: "/ok"}, ""},
		"what it says":     {HTTPCheck{URL: "/ok", Contains: "green"}, ""},
		"what it does not": {HTTPCheck{URL: "/ok", Contains: "blue"}, `"blue" does not stand in the answer`},
		"failure":          {HTTPCheck{URL: "/sick"}, "status 503"},
		"wanted failure":   {HTTPCheck{URL: "/sick", Status: 503, Contains: "red"}, ""},
		"other success":    {HTTPCheck{URL: "/ok", Status: 204}, "status 200 instead of 204"},
		"elsewhere":        {HTTPCheck{URL: "/elsewhere"}, "status 302"},
		"wanted elsewhere": {HTTPCheck{URL: "/elsewhere", Status: 302}, ""},
		"flood":            {HTTPCheck{URL: "/flood", Contains: "x"}, "fetch: the answer is too long: more than 1048576 bytes"},
		"flood unread":     {HTTPCheck{URL: "/flood"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			full := url + c.check.URL
			c.check.URL = full
			want := c.why
			if want != "" {
				want = "http " + full + ": " + want
			}
			if r := run(t, only(func(cfg *Config) { cfg.HTTP = []HTTPCheck{c.check} })); r.Why() != want || r.Passed != (want == "") {
				t.Errorf("%q, want %q", r.Why(), want)
			}
		})
	}
}

func TestTCPAndExec(t *testing.T) {
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { open.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	r := run(t, only(func(c *Config) {
		c.TCP = []string{open.Addr().String(), closed.Addr().String()}
		c.Exec = [][]string{{"/bin/true"}, {"/bin/sh", "-c", "echo a disk is missing; exit 2"}, {"/nowhere/check"}}
	}))
	var errs []string
	for _, result := range r.Results {
		errs = append(errs, result.Error)
	}
	want := []string{"", "connection refused", "", "exit code 2: a disk is missing", "no such file"}
	if r.Passed || !slices.EqualFunc(errs, want, func(got, want string) bool {
		return (got == "") == (want == "") && strings.Contains(got, want)
	}) {
		t.Errorf("%q", errs)
	}
}

// TestHangingChecksEndTogether: with more checks than look at once, and with a context that is over.
func TestHangingChecksEndTogether(t *testing.T) {
	url := serve(t)
	c := Config{Timeout: 100 * time.Millisecond}
	for i := range atOnce + 2 {
		c.HTTP = append(c.HTTP, HTTPCheck{URL: fmt.Sprintf("%s/hang?%d", url, i)})
		c.Exec = append(c.Exec, []string{"/bin/sh", "-c", `trap "" TERM; while :; do sleep 60; done`})
	}
	r := run(t, c)
	for _, result := range r.Results {
		if !strings.Contains(result.Error, "deadline exceeded") || result.Took <= 0 {
			t.Errorf("%+v", result)
		}
	}
	if why := r.Why(); !strings.HasSuffix(why, "; 15 more") {
		t.Errorf("%q is too long", why)
	}

	c.Timeout = MaxTimeout
	checks, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := checks.Run(ctx); r.Passed {
		t.Errorf("%+v", r)
	}
}

func TestNothingToCheck(t *testing.T) {
	if r := run(t, Config{Timeout: time.Second}); !r.Passed || r.Why() != "" {
		t.Errorf("%+v", r)
	}
}

func TestConfig(t *testing.T) {
	var c Config
	c.Defaults()
	if err := c.Validate(); err != nil || !c.BootComplete || c.SystemRunning {
		t.Errorf("defaults: %+v, %v", c, err)
	}
	const text = `
boot_complete: false
system_running: true
units: [nginx.service, getty@tty1.service, 'dev-disk-by\x2dlabel-data.device']
http: [{url: 'https://[::1]:8443/', status: 204, contains: ok, ca_file: /ca.pem}]
tcp: ['[::1]:22', localhost:80]
exec: [[/bin/check, -q]]
timeout: 2s
stable_for: 1m
deadline: 0s
`
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil || c.BootComplete || !c.SystemRunning || len(c.Units) != 3 || c.HTTP[0] != (HTTPCheck{"https://[::1]:8443/", 204, "ok", "/ca.pem"}) ||
		c.TCP[1] != "localhost:80" || c.Exec[0][1] != "-q" || c.Timeout != 2*time.Second || c.StableFor != time.Minute || c.Deadline != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	c = Config{
		Units:     []string{"nginx", ".service", "a b.service", "../x.service", "x.conf", ""},
		HTTP:      []HTTPCheck{{URL: "localhost"}, {URL: "http://u:s3cret@h:p/"}, {URL: "http://h", Status: 99}},
		TCP:       []string{"localhost", ":22", "h:0", "h:65536", "h:ssh"},
		Exec:      [][]string{{}},
		StableFor: -1, Deadline: -1,
	}
	want := []string{
		"health.units[0]: ", "health.units[1]: ", "health.units[2]: ", "health.units[3]: ", "health.units[4]: ", "health.units[5]: ",
		"health.http[0].url: ", "health.http[1].url: ", "health.http[2].status: ",
		"health.tcp[0]: ", "health.tcp[1]: ", "health.tcp[2]: ", "health.tcp[3]: ", "health.tcp[4]: ",
		"health.exec[0]: ", "health.timeout: ", "health.stable_for: ", "health.deadline: ",
	}
	err := c.Validate()
	if err == nil || !slices.EqualFunc(strings.Split(err.Error(), "\n"), want, strings.HasPrefix) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
	if checks, err := New(c); err == nil {
		t.Errorf("%+v", checks)
	}
}
