package blocker

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// alerts makes an answer as Prometheus gives it, of name=state.
func alerts(named ...string) string {
	var list []string
	for _, a := range named {
		name, state, _ := strings.Cut(a, "=")
		list = append(list, fmt.Sprintf(`{"labels":{"alertname":%q,"severity":"page"},"annotations":{"summary":"x"},"state":%q,"activeAt":"2020-01-01T12:00:00Z","value":"1e+00"}`, name, state))
	}
	return `{"status":"success","data":{"alerts":[` + strings.Join(list, ",") + `]}}`
}

func TestPrometheus(t *testing.T) {
	const failed = "prometheus: cannot tell, and so blocks: "
	for name, c := range map[string]struct {
		status       int
		answer       string
		ignore, only string
		want         []string
	}{
		"nothing":             {answer: alerts()},
		"one fires":           {answer: alerts("DiskFull=firing"), want: []string{`prometheus: alert "DiskFull" fires`}},
		"pending":             {answer: alerts("DiskFull=pending", "Old=inactive")},
		"a state of tomorrow": {answer: alerts("DiskFull=burning"), want: []string{`prometheus: alert "DiskFull" fires`}},
		"many, in order":      {answer: alerts("B=firing", "A=firing", "B=firing"), want: []string{`prometheus: alert "A" fires`, `prometheus: alert "B" fires 2 times`}},
		"without a name":      {answer: `{"status":"success","data":{"alerts":[{}]}}`, want: []string{`prometheus: alert "" fires`}},
		"ignored":             {answer: alerts("Watchdog=firing", "InfoX=firing"), ignore: "Watchdog|Info.*"},
		"a part is not it":    {answer: alerts("WatchdogDown=firing"), ignore: "Watchdog|x", want: []string{`prometheus: alert "WatchdogDown" fires`}},
		"only those":          {answer: alerts("Db=firing", "DbSlow=firing", "Web=firing"), only: "Db.*", want: []string{`prometheus: alert "Db" fires`, `prometheus: alert "DbSlow" fires`}},
		"only, but ignored":   {answer: alerts("Db=firing", "DbSlow=firing"), only: "Db.*", ignore: "DbSlow", want: []string{`prometheus: alert "Db" fires`}},

		"an error of its own": {status: 503, answer: `{"status":"error","errorType":"unavailable","error":"not\nready"}`, want: []string{failed + "status 503: not ready"}},
		"an error without it": {status: 502, answer: "Bad Gateway", want: []string{failed + "status 502"}},
		"a login page":        {answer: "<!DOCTYPE html><html>log in</html>", want: []string{failed + "the answer is not Prometheus's: invalid character '<' looking for beginning of value"}},
		"other JSON":          {answer: "{}", want: []string{failed + "the answer is not Prometheus's: it has no list of alerts"}},
		"null":                {answer: `{"status":"success","data":{"alerts":null}}`, want: []string{failed + "the answer is not Prometheus's: it has no list of alerts"}},
		"half an answer":      {answer: alerts("DiskFull=firing")[:40], want: []string{failed + "the answer is not Prometheus's: unexpected end of JSON input"}},
		"a flood":             {answer: strings.Repeat(" ", maxAlerts+1), want: []string{failed + "fetch: the answer is too long: more than 8388608 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/prefix/api/v1/alerts" || r.Method != http.MethodGet {
					t.Errorf("%s %s", r.Method, r.URL)
				}
				if c.status != 0 {
					w.WriteHeader(c.status)
				}
				fmt.Fprint(w, c.answer)
			}))
			t.Cleanup(server.Close)
			got := blocks(t, Config{Prometheus: Prometheus{URL: server.URL + "/prefix/", Ignore: c.ignore, Only: c.only}}, Sources{})
			expect(t, got, c.want...)
		})
	}
}

// TestPrometheusIsFenced: a server that wants a token, redirects without it, hangs, or is not there.
func TestPrometheusIsFenced(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/hang"):
			<-r.Context().Done()
		case r.Header.Get("Authorization") == "Bearer s3cret":
			fmt.Fprint(w, alerts())
		default:
			http.Redirect(w, r, "https://login.example.com/", http.StatusFound)
		}
	}))
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(p Prometheus, timeout time.Duration) []string {
		return blocks(t, Config{Prometheus: p, Timeout: timeout}, Sources{})
	}
	expect(t, ask(Prometheus{URL: server.URL, TokenFile: token}, 0))
	expect(t, ask(Prometheus{URL: server.URL}, 0), "prometheus: cannot tell, and so blocks: status 302")
	for text, got := range map[string][]string{
		"no such file":      ask(Prometheus{URL: server.URL, TokenFile: token + "x"}, 0),
		"deadline exceeded": ask(Prometheus{URL: server.URL + "/hang"}, 100*time.Millisecond),
		"refused":           ask(Prometheus{URL: "http://127.0.0.1:1"}, 0),
	} {
		if len(got) != 1 || !strings.Contains(got[0], "and so blocks") || !strings.Contains(got[0], text) {
			t.Errorf("%q, want %s", got, text)
		}
	}
}
