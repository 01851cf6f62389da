package fleetlock

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/locksmith/slots"
)

// FuzzHandler: whatever comes is answered as the protocol says, a refusal writes
// nothing to the store, and a success writes at most one holder.
func FuzzHandler(f *testing.F) {
	for _, c := range garbage {
		if len(c.body) < 1<<16 {
			f.Add(c.method, strings.TrimPrefix(c.path, "/"), c.header, c.body)
		}
	}
	for _, id := range []string{"a", "b", "ü", "a/b"} {
		f.Add("POST", "v1/pre-reboot", "true", body(id, "default"))
		f.Add("POST", "v1/steady-state", "true", body(id, "default"))
	}
	h := newHandler(f, Config{Client: newClient(f, coorddtest.Start(f))})
	revision := func(t *testing.T) int64 {
		state, err := h.group(t, slots.DefaultGroup).State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(state.Holders) > state.Max {
			t.Fatalf("%d hold a slot of %d", len(state.Holders), state.Max)
		}
		return state.Revision
	}
	f.Fuzz(func(t *testing.T, method, path, header, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Method, r.URL.Path = method, "/"+path
		r.Header.Set("fleet-lock-protocol", header)
		before, w := revision(t), httptest.NewRecorder()
		h.ServeHTTP(w, r)
		decode(t, w.Result())
		if !utf8.Valid(w.Body.Bytes()) {
			t.Errorf("no UTF-8: %q", w.Body)
		}
		if after := revision(t); w.Code != http.StatusOK && after != before || after > before+1 {
			t.Errorf("%d %s: revision %d, then %d", w.Code, w.Body, before, after)
		}
	})
}
