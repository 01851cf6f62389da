package fencehttp_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coordd/coordd/recipes/fence"
	"github.com/coordd/coordd/recipes/fence/fencehttp"
)

const lock = "/coordd/locks/report"

func granted(t testing.TB, resource string, revision int64) fence.Token {
	t.Helper()
	token, err := fence.New(fence.Fields{Cluster: 1, Mode: fence.Exclusive, Resource: resource, Revision: revision, Key: "q/1"})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestHandlerAnswers(t *testing.T) {
	guard := fence.NewGuard(lock)
	if err := guard.Advance(granted(t, lock, 7)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what    string
		headers []string
		status  int
	}{
		{"none", nil, http.StatusPreconditionRequired},
		{"empty", []string{""}, http.StatusBadRequest},
		{"mangled", []string{"f1:zz"}, http.StatusBadRequest},
		{"10 KiB", []string{strings.Repeat("f", 10<<10)}, http.StatusBadRequest},
		{"two", []string{granted(t, lock, 7).String(), granted(t, lock, 8).String()}, http.StatusBadRequest},
		{"stale", []string{granted(t, lock, 6).String()}, http.StatusPreconditionFailed},
		{"another resource", []string{granted(t, "/other", 9).String()}, http.StatusPreconditionFailed},
		{"current", []string{granted(t, lock, 7).String()}, http.StatusNoContent},
		{"newer", []string{granted(t, lock, 8).String()}, http.StatusNoContent},
		{"overtaken meanwhile", []string{granted(t, lock, 7).String()}, http.StatusPreconditionFailed},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header[fencehttp.Header] = c.headers
		w := httptest.NewRecorder()
		fencehttp.Handler(guard, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if token, ok := fence.FromContext(r.Context()); !ok || token.String() != c.headers[0] {
				t.Errorf("%s: the handler got %s, %t", c.what, token, ok)
			}
			w.WriteHeader(http.StatusNoContent)
		})).ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d, want %d: %s", c.what, w.Code, c.status, w.Body)
		}
		if w.Body.Len() > 1024 {
			t.Errorf("%s: the answer has %d bytes", c.what, w.Body.Len())
		}
	}
}

func TestHandlerWithoutGuardOnlyCarries(t *testing.T) {
	h := fencehttp.Handler(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	for revision, want := range map[string]int{granted(t, lock, 9).String(): 200, granted(t, "/other", 1).String(): 200, "f1": 400} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set(fencehttp.Header, revision)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", revision, w.Code, want)
		}
	}
}

func TestStatusOfOtherErrors(t *testing.T) {
	if got := fencehttp.Status(errors.New("disk full")); got != http.StatusInternalServerError {
		t.Errorf("%d", got)
	}
	if got := fencehttp.Status(fmt.Errorf("write: %w", &fence.StaleError{})); got != http.StatusPreconditionFailed {
		t.Errorf("%d", got)
	}
}

func TestTransportSendsTheTokenOfTheContext(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.Header.Values(fencehttp.Header) }))
	defer server.Close()
	client := &http.Client{Transport: &fencehttp.Transport{}}
	token := granted(t, lock, 7)

	plain, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	fenced := plain.Clone(fence.NewContext(t.Context(), token))
	fenced.Header.Set(fencehttp.Header, "an old one")
	for request, want := range map[*http.Request][]string{plain: nil, fenced: {token.String()}} {
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
	if fenced.Header.Get(fencehttp.Header) != "an old one" {
		t.Error("the caller's request was changed")
	}
}
