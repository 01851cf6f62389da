package httpapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// echo is a connection to a server that refuses each call with what it was asked.
type echo struct{}

func (echo) Invoke(ctx context.Context, method string, args, _ any, _ ...grpc.CallOption) error {
	md, _ := metadata.FromOutgoingContext(ctx)
	return status.Errorf(codes.Aborted, "%s %d %v", method, proto.Size(args.(proto.Message)), md["authorization"])
}

func (echo) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Aborted, "stream")
}

const (
	testRequestBytes = 1000
	testParts        = 100
)

func newEcho(t testing.TB) http.Handler {
	t.Helper()
	h, err := NewGateway(echo{}, testRequestBytes, testParts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ask(h http.Handler, path string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, path, body)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	h.ServeHTTP(w, r)
	return w
}

func TestGatewayBoundsBodies(t *testing.T) {
	h := newEcho(t)
	body := func(n int) string { return fmt.Sprintf(`{"key":%q}`, strings.Repeat("A", n)) }
	for _, c := range []struct {
		name, body string
		hidden     bool // how large the body is
		status     int
		message    string
	}{
		{"a request of the largest size", body(testRequestBytes / 3 * 4), false, 409, "etcdserverpb.KV/Put 1002"},
		{"a larger one", body(2 * testRequestBytes), false, 413, "etcdserver: request is too large"},
		{"a larger one that does not say so", body(2 * testRequestBytes), true, 400, "request body too large"},
		{"an endless string", `{"key":"` + strings.Repeat("A", 1<<20), true, 400, "request body too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var reader io.Reader = strings.NewReader(c.body)
			if c.hidden {
				reader = io.MultiReader(reader)
			}
			w := ask(h, "/v3/kv/put", reader)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.message) {
				t.Errorf("%d %s, want %d and %q", w.Code, w.Body, c.status, c.message)
			}
		})
	}
}

// A body of empty objects must not become many times its size.
func TestGatewayCountsObjects(t *testing.T) {
	h := newEcho(t)
	for n, want := range map[int]string{testParts - 1: "etcdserverpb.KV/Txn", testParts: errTooManyParts.Error()} {
		body := `{"compare":[{}` + strings.Repeat(",{}", n-1) + `]}`
		if w := ask(h, "/v3/kv/txn", strings.NewReader(body)); !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d compares: %d %s, want %q", n, w.Code, w.Body, want)
		}
	}
}

func TestGatewayPassesTheTokenOn(t *testing.T) {
	for _, path := range []string{"/v3/kv/put", "/v3/lock/lock"} {
		if w := ask(newEcho(t), path, strings.NewReader(`{}`), "Authorization", "a.token"); !strings.Contains(w.Body.String(), "[a.token]") {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

// FuzzGateway: whatever the path and the body, the answer is JSON with a status
// that says no, and nothing panics.
func FuzzGateway(f *testing.F) {
	for _, path := range []string{"/v3/kv/txn", "/v3/watch", "/v3/lock/lock", "/v3/election/observe", "/v3beta/kv/range", "/v3/", "/v3/%zz", "/v3/kv/put:x"} {
		for _, body := range []string{`{}`, `{"success":[{"requestTxn":{"success":[]}}]}`, `{"key":"Zm9v","limit":"1"}`, `[`, "\x00", `{"key":1e999}`, `{"name":"\ud800"}`} {
			f.Add(path, body)
		}
	}
	h := newEcho(f)
	f.Fuzz(func(t *testing.T, path, body string) {
		r, err := http.NewRequest(http.MethodPost, "http://x/v3/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path = path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code < 400 || !strings.HasPrefix(w.Body.String(), "{") {
			t.Errorf("POST %q %q: %d %s", path, body, w.Code, w.Body)
		}
	})
}
