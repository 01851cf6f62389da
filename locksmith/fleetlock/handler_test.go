package fleetlock

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/locksmith/slots"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

func newClient(t testing.TB, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func newHandler(t testing.TB, c Config) *Handler {
	t.Helper()
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// body is what Zincati sends: serde's pretty form.
func body(id, group string) string {
	return fmt.Sprintf("{\n  \"client_params\": {\n    \"id\": %q,\n    \"group\": %q\n  }\n}", id, group)
}

func request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("fleet-lock-protocol", "true")
	return r
}

// check serves a request and compares status and kind; every answer is JSON of the protocol's form.
func check(t *testing.T, h http.Handler, r *http.Request, status int, kind string) (value string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	got := decode(t, w.Result())
	if w.Code != status || got.Kind != kind {
		t.Errorf("%s %s: %d %s, want %d %q", r.Method, r.URL.Path, w.Code, w.Body, status, kind)
	}
	return got.Value
}

func decode(t testing.TB, r *http.Response) (a answer) {
	t.Helper()
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if ok := r.StatusCode == http.StatusOK; err != nil || ok != (a.Kind == "") || ok != (a.Value == "") {
		t.Errorf("%d %q: %v", r.StatusCode, text, err)
	}
	return a
}

func TestHandler(t *testing.T) {
	client := newClient(t, coorddtest.Start(t))
	for name, test := range map[string]func(*testing.T, *Handler){
		"repeats and calls without their other half": testUnbalanced,
		"a slot that somebody else took stays":       testTakenByOthers,
		"groups":                                     testGroups,
		"what is no request stores nothing":          testGarbage,
		"who holds is told":                          testFull,
		"ids are compared exactly":                   testIDs,
		"fifty at once":                              testManyAtOnce,
		"metrics":                                    testMetrics,
		"tokens":                                     testTokens,
		"a panic is an answer":                       testPanic,
	} {
		t.Run(name, func(t *testing.T) {
			test(t, newHandler(t, Config{Client: client, Prefix: t.Name(), Groups: []string{"default", "workers"}}))
		})
	}
}

func (h *Handler) group(t testing.TB, name string) *slots.Group {
	t.Helper()
	g, err := slots.NewGroup(h.Client, h.Prefix, name)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (h *Handler) setMax(t testing.TB, group string, n int) {
	t.Helper()
	if _, err := h.group(t, group).SetMax(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

func (h *Handler) holders(t testing.TB, group string) []slots.Record {
	t.Helper()
	state, err := h.group(t, group).State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state.Holders
}

func testUnbalanced(t *testing.T, h *Handler) {
	const full = "failed_lock_semaphore_full"
	for i, step := range []struct {
		path, id string
		status   int
		kind     string
	}{
		{"/v1/steady-state", "a", 200, ""}, // every client's first request
		{"/v1/pre-reboot", "a", 200, ""},
		{"/v1/pre-reboot", "a", 200, ""},
		{"/v1/pre-reboot", "b", 409, full},
		{"/v1/steady-state", "b", 200, ""}, // takes nothing from a
		{"/v1/pre-reboot", "b", 409, full},
		{"/v1/pre-reboot", "a", 200, ""}, // though full
		{"/v1/steady-state", "a", 200, ""},
		{"/v1/steady-state", "a", 200, ""},
		{"/v1/pre-reboot", "b", 200, ""},
		{"//v1/steady-state", "b", 200, ""}, // fleetlockctl, of a base URL that ends in a slash
	} {
		t.Log(i, step)
		check(t, h, request("POST", step.path, body(step.id, "default")), step.status, step.kind)
	}
	if left := h.holders(t, "default"); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
	h.setMax(t, "default", 0)
	check(t, h, request("POST", "/v1/pre-reboot", body("a", "default")), 409, full)
}

func testTakenByOthers(t *testing.T, h *Handler) {
	g := h.group(t, "default")
	for _, who := range []string{"locksmithctl", "locksmithd", ""} {
		slot, err := g.Acquire(t.Context(), slots.Record{ID: "a", TakenBy: who})
		if err != nil {
			t.Fatal(err)
		}
		check(t, h, request("POST", "/v1/pre-reboot", body("a", "default")), 200, "")
		check(t, h, request("POST", "/v1/steady-state", body("a", "default")), 200, "")
		if _, err := slot.Verify(t.Context()); err != nil {
			t.Errorf("the slot of %q: %v", who, err)
		}
		if err := slot.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	check(t, h, request("POST", "/v1/pre-reboot", body("a", "default")), 200, "")
	if r := h.holders(t, "default")[0]; r.TakenBy != TakenBy || r.Phase != slots.Held || r.ID != "a" || time.Since(r.Since) > time.Minute {
		t.Errorf("record: %+v", r)
	}
}

func testGroups(t *testing.T, h *Handler) {
	if value := check(t, h, request("POST", "/v1/pre-reboot", body("a", "others")), 400, "unknown_group"); !strings.Contains(value, "default, workers") {
		t.Errorf("%q does not say which are known", value)
	}
	check(t, h, request("POST", "/v1/pre-reboot", body("a", "default")), 200, "")
	check(t, h, request("POST", "/v1/pre-reboot", body("a", "workers")), 200, "")
	check(t, h, request("POST", "/v1/steady-state", body("a", "others")), 200, "")

	wide := newHandler(t, Config{Client: h.Client, Prefix: h.Prefix, Groups: []string{AnyGroup}})
	check(t, wide, request("POST", "/v1/pre-reboot", body("a", "others")), 200, "")
	check(t, h, request("POST", "/v1/steady-state", body("a", "others")), 200, "") // though it is not served any more
	if left := h.holders(t, "others"); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
	for _, c := range []Config{
		{Groups: []string{"a b"}}, {Groups: []string{""}}, {Groups: []string{"../x"}}, {Groups: []string{strings.Repeat("a", 257)}},
		{Timeout: -1}, {TokenFile: "/nonexistent"},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("taken: %+v", c)
		}
	}
}

// garbage is what is refused, whoever holds what.
var garbage = map[string]struct {
	method, path, header, body string
	status                     int
	kind                       string
}{
	"GET":                   {"GET", "/v1/pre-reboot", "true", "", 405, "method_not_allowed"},
	"PUT":                   {"PUT", "/v1/steady-state", "true", body("a", "default"), 405, "method_not_allowed"},
	"OPTIONS":               {"OPTIONS", "/v1/pre-reboot", "true", "", 405, "method_not_allowed"},
	"the base":              {"POST", "/", "true", body("a", "default"), 404, "not_found"},
	"a path below":          {"POST", "/v1/pre-reboot/", "true", body("a", "default"), 404, "not_found"},
	"another version":       {"POST", "/v2/pre-reboot", "true", body("a", "default"), 404, "not_found"},
	"a path upwards":        {"POST", "/x/../v1/pre-reboot", "true", body("a", "default"), 404, "not_found"},
	"no header":             {"POST", "/v1/pre-reboot", "", body("a", "default"), 400, "missing_fleet_lock_header"},
	"header false":          {"POST", "/v1/pre-reboot", "false", body("a", "default"), 400, "missing_fleet_lock_header"},
	"header True":           {"POST", "/v1/pre-reboot", "True", body("a", "default"), 400, "missing_fleet_lock_header"},
	"no body":               {"POST", "/v1/pre-reboot", "true", "", 400, "invalid_request"},
	"HTML":                  {"POST", "/v1/pre-reboot", "true", "<html><body>moved</body></html>", 400, "invalid_request"},
	"a form":                {"POST", "/v1/pre-reboot", "true", "id=a&group=default", 400, "invalid_request"},
	"a megabyte":            {"POST", "/v1/pre-reboot", "true", body(strings.Repeat("a", 1<<20), "default"), 413, "invalid_request"},
	"a megabyte of blanks":  {"POST", "/v1/pre-reboot", "true", body("a", "default") + strings.Repeat(" ", 1<<20), 413, "invalid_request"},
	"deep JSON":             {"POST", "/v1/pre-reboot", "true", `{"x":` + strings.Repeat("[", 8000), 400, "invalid_request"},
	"an array":              {"POST", "/v1/pre-reboot", "true", `[` + body("a", "default") + `]`, 400, "invalid_request"},
	"null":                  {"POST", "/v1/pre-reboot", "true", `null`, 400, "invalid_request"},
	"null params":           {"POST", "/v1/pre-reboot", "true", `{"client_params":null}`, 400, "invalid_request"},
	"null id":               {"POST", "/v1/pre-reboot", "true", `{"client_params":{"id":null,"group":"default"}}`, 400, "invalid_request"},
	"a number":              {"POST", "/v1/pre-reboot", "true", `{"client_params":{"id":1,"group":"default"}}`, 400, "invalid_request"},
	"no id":                 {"POST", "/v1/pre-reboot", "true", `{"client_params":{"group":"default"}}`, 400, "invalid_request"},
	"an empty id":           {"POST", "/v1/pre-reboot", "true", body("", "default"), 400, "invalid_request"},
	"no group":              {"POST", "/v1/pre-reboot", "true", `{"client_params":{"id":"a"}}`, 400, "invalid_request"},
	"an empty group":        {"POST", "/v1/pre-reboot", "true", body("a", ""), 400, "invalid_request"},
	"node_uuid of old":      {"POST", "/v1/pre-reboot", "true", `{"client_params":{"node_uuid":"a","group":"default"}}`, 400, "invalid_request"},
	"names in capitals":     {"POST", "/v1/pre-reboot", "true", `{"CLIENT_PARAMS":{"ID":"a","GROUP":"default"}}`, 400, "invalid_request"},
	"two ids":               {"POST", "/v1/pre-reboot", "true", `{"client_params":{"id":"a","id":"b","group":"default"}}`, 400, "invalid_request"},
	"two client_params":     {"POST", "/v1/pre-reboot", "true", `{"client_params":{"id":"a","group":"default"},"client_params":{"id":"b","group":"default"}}`, 400, "invalid_request"},
	"two objects":           {"POST", "/v1/pre-reboot", "true", body("a", "default") + body("b", "default"), 400, "invalid_request"},
	"cut off":               {"POST", "/v1/pre-reboot", "true", `{"client_params":{"id":"a","group":"default"}`, 400, "invalid_request"},
	"NUL in the id":         {"POST", "/v1/pre-reboot", "true", `{"client_params":{"id":"a\u0000b","group":"default"}}`, 400, "invalid_request"},
	"a line break":          {"POST", "/v1/pre-reboot", "true", `{"client_params":{"id":"a\n","group":"default"}}`, 400, "invalid_request"},
	"half a surrogate pair": {"POST", "/v1/pre-reboot", "true", `{"client_params":{"id":"a\ud800","group":"default"}}`, 400, "invalid_request"},
	"no UTF-8":              {"POST", "/v1/pre-reboot", "true", "{\"client_params\":{\"id\":\"a\xff\",\"group\":\"default\"}}", 400, "invalid_request"},
	"a long id":             {"POST", "/v1/pre-reboot", "true", body(strings.Repeat("a", 257), "default"), 400, "invalid_request"},
	"a group upwards":       {"POST", "/v1/pre-reboot", "true", body("a", "../x"), 400, "invalid_request"},
	"a group with a break":  {"POST", "/v1/pre-reboot", "true", `{"client_params":{"id":"a","group":"default\n"}}`, 400, "invalid_request"},
	"a group in Greek":      {"POST", "/v1/pre-reboot", "true", body("a", "ομάδα"), 400, "invalid_request"},
	"a long group":          {"POST", "/v1/steady-state", "true", body("a", strings.Repeat("a", 257)), 400, "invalid_request"},
}

func testGarbage(t *testing.T, h *Handler) {
	before, err := h.group(t, "default").State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range garbage {
		t.Run(name, func(t *testing.T) {
			r := request(c.method, c.path, c.body)
			r.Header.Set("fleet-lock-protocol", c.header)
			check(t, h, r, c.status, c.kind)
		})
	}
	keys, err := h.Client.Get(t.Context(), h.Prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || keys.Count != 0 || keys.Header.Revision != before.Revision {
		t.Errorf("stored: %+v, %v", keys, err)
	}
	unknown := `{"v":1,"client_params":{"x":{"id":"z"},"id":"a","node_uuid":"b","group":"default"}}`
	check(t, h, request("POST", "/v1/pre-reboot", unknown), 200, "") // a later client may say more
	if r := h.holders(t, "default"); len(r) != 1 || r[0].ID != "a" {
		t.Errorf("holders: %+v", r)
	}
	form := request("POST", "/v1/steady-state", body("a", "default"))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl -d says
	check(t, h, form, 200, "")
}

func testFull(t *testing.T, h *Handler) {
	h.setMax(t, "default", 7)
	for i := range 7 {
		check(t, h, request("POST", "/v1/pre-reboot", body(fmt.Sprint("machine-", i), "default")), 200, "")
	}
	value := check(t, h, request("POST", "/v1/pre-reboot", body("late", "default")), 409, "failed_lock_semaphore_full")
	if !strings.Contains(value, "7 held of at most 7") || !strings.Contains(value, "machine-0 since 20") || !strings.Contains(value, "2 more") {
		t.Errorf("value %q", value)
	}
	long := strings.Repeat("é", 2000)
	if got := shortened(long); len(got) > maxValueBytes+len("…") || !strings.HasPrefix(long, strings.TrimSuffix(got, "…")) {
		t.Errorf("shortened to %d bytes", len(got))
	}
}

func testIDs(t *testing.T, h *Handler) {
	ids := []string{"a", "A", "a/b", "a%2Fb", "ünïcode ☃", "a b", "..", strings.Repeat("a", 256)}
	h.setMax(t, "default", len(ids))
	for _, id := range ids {
		check(t, h, request("POST", "/v1/pre-reboot", body(id, "default")), 200, "")
	}
	held := h.holders(t, "default")
	if len(held) != len(ids) {
		t.Fatalf("%d of %d hold a slot: %+v", len(held), len(ids), held)
	}
	for _, id := range ids {
		check(t, h, request("POST", "/v1/steady-state", body(id, "default")), 200, "")
	}
	if left := h.holders(t, "default"); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

func testManyAtOnce(t *testing.T, h *Handler) {
	h.setMax(t, "default", 3)
	results := make([]int, 50)
	var done sync.WaitGroup
	for i := range results {
		done.Go(func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request("POST", "/v1/pre-reboot", body(fmt.Sprint(i), "default")))
			results[i] = w.Code
		})
	}
	done.Wait()
	counts := map[int]int{}
	for _, code := range results {
		counts[code]++
	}
	if counts[200] != 3 || counts[409] != 47 {
		t.Errorf("answers: %v", counts)
	}
	if held := h.holders(t, "default"); len(held) != 3 {
		t.Errorf("%d hold a slot", len(held))
	}
}

func testMetrics(t *testing.T, h *Handler) {
	h.setMax(t, "workers", 4)
	check(t, h, request("POST", "/v1/pre-reboot", body("a", "workers")), 200, "")
	g, err := slots.NewGroup(h.Client, h.Prefix, "workers")
	if err != nil {
		t.Fatal(err)
	}
	slot, r, err := g.Find(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	since := r.Since
	if err := errors.Join(slot.Fail(t.Context(), "no network", since), g.Pause(t.Context(), slots.Pause{By: "ann", Reason: "a storm", Since: since})); err != nil {
		t.Fatal(err)
	}
	check(t, h, request("POST", "/v1/pre-reboot", body("b", "workers")), 409, "failed_lock_refused")
	check(t, h, request("POST", "/v1/pre-reboot", body("a", "no-such")), 400, "unknown_group")
	check(t, h, request("POST", "/v1/"+strings.Repeat("x", 100), ""), 404, "not_found")
	want := []string{
		`locksmith_fleetlock_requests_total{operation="pre-reboot",result="failed_lock_refused"} 1`,
		`locksmith_fleetlock_requests_total{operation="pre-reboot",result="ok"} 1`,
		`locksmith_fleetlock_requests_total{operation="pre-reboot",result="unknown_group"} 1`,
		`locksmith_fleetlock_requests_total{operation="unknown",result="not_found"} 1`,
		`locksmith_slots_failed{group="default"} 0`,
		`locksmith_slots_failed{group="workers"} 1`,
		`locksmith_slots_held{group="default"} 0`,
		`locksmith_slots_held{group="workers"} 1`,
		`locksmith_slots_max{group="default"} 1`,
		`locksmith_slots_max{group="workers"} 4`,
		`locksmith_slots_oldest_timestamp_seconds{group="default"} 0`,
		fmt.Sprintf(`locksmith_slots_oldest_timestamp_seconds{group="workers"} %v`, float64(since.Unix())),
		`locksmith_slots_paused{group="default"} 0`,
		`locksmith_slots_paused{group="workers"} 1`,
		`locksmith_slots_waiting{group="default"} 0`,
		`locksmith_slots_waiting{group="workers"} 0`,
	}
	if got := scrape(t, h); !slices.Equal(got, want) {
		t.Errorf("metrics:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// scrape returns the series of a handler.
func scrape(t *testing.T, h *Handler) (series []string) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(h.Collectors()...)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			series = append(series, strings.TrimSpace(line))
		}
	}
	return series
}

func testTokens(t *testing.T, h *Handler) {
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const old, fresh = "old-0123456789abcdef", "new-0123456789abcdef"
	write(old + "\n\n" + fresh + "\r\n")
	h.TokenFile = file
	ask := func(set func(*http.Request), status int, kind string) (value string) {
		t.Helper()
		r := request("POST", "/v1/steady-state", body("a", "default"))
		set(r)
		return check(t, h, r, status, kind)
	}
	header := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", value) }
	}
	ask(header("Bearer "+old), 200, "")
	ask(header("bearer "+fresh), 200, "")
	ask(func(r *http.Request) { r.SetBasicAuth("zincati", old) }, 200, "")
	for _, wrong := range []string{"", "Bearer", "Bearer ", "Bearer " + old[1:], "Bearer " + old + fresh, "Digest " + old, "Basic " + old, old} {
		ask(header(wrong), 401, "unauthorized")
	}
	write(fresh)
	ask(header("Bearer "+old), 401, "unauthorized") // without a restart
	for _, bad := range []string{"", "\n", "short"} {
		write(bad)
		if value := ask(header("Bearer "+bad), 500, "internal_error"); strings.Contains(value, file) {
			t.Errorf("a stranger is told the file: %s", value)
		}
		if _, err := New(Config{TokenFile: file}); err == nil {
			t.Errorf("tokens %q are taken", bad)
		}
	}
}

func testPanic(t *testing.T, h *Handler) {
	h.Now = func() time.Time { panic("no clock") }
	check(t, h, request("POST", "/v1/pre-reboot", body("a", "default")), 500, "internal_error")
}

// A store that is not there is told in bounded time, and the metrics do without it.
func TestStoreIsDown(t *testing.T) {
	h := newHandler(t, Config{Client: newClient(t, "http://127.0.0.1:1"), Timeout: 100 * time.Millisecond})
	check(t, h, request("POST", "/v1/pre-reboot", body("a", "default")), 503, "store_unavailable")
	check(t, h, request("POST", "/v1/steady-state", body("a", "default")), 503, "store_unavailable")
	if got := scrape(t, h); len(got) != 2 { // the two requests
		t.Errorf("metrics: %v", got)
	}
}

// A body that does not come is not waited for longer than a request may take.
func TestSlowBody(t *testing.T) {
	h := newHandler(t, Config{Client: newClient(t, "http://127.0.0.1:1"), Timeout: 100 * time.Millisecond})
	server := httptest.NewServer(h)
	defer server.Close()
	unfinished, w := io.Pipe()
	defer w.Close()
	r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/v1/pre-reboot", unfinished)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("fleet-lock-protocol", "true")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if a := decode(t, response); response.StatusCode != 400 || a.Kind != "invalid_request" {
		t.Errorf("%d %+v", response.StatusCode, a)
	}
}

// Each kind is in docs/REBOOTS.md with its status.
func TestRefusals(t *testing.T) {
	page, err := os.ReadFile("../../docs/REBOOTS.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, r := range refusals {
		kinds[r.kind] = true
		if a := refusalOf(fmt.Errorf("why: %w", r.is)); a.status != r.status || a.Kind != r.kind || a.Value == "" {
			t.Errorf("%v: %+v", r.is, a)
		}
		row := regexp.MustCompile("(?m)^\\| .*`" + r.kind + "`.* \\|.*" + fmt.Sprint(r.status) + ".*\\|.*\\|$")
		if !row.Match(page) {
			t.Errorf("docs/REBOOTS.md has no row for %s with %d", r.kind, r.status)
		}
	}
	if len(kinds) > 12 {
		t.Errorf("%d kinds: the protocol wants few", len(kinds))
	}
	if a := refusalOf(errors.New("anything")); a.status != 500 || a.Kind != kindInternal {
		t.Errorf("%+v", a)
	}
}
