package rpc

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// slowRig logs every unary call as a slow one.
func slowRig(t *testing.T) (*rig, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	return newRig(t, func(c *Config) {
		c.SlowRequest = 1
		c.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	}), &log
}

// lastSlow returns what the log's last line says, and lets the next request be
// written down at once.
func (r *rig) lastSlow(t *testing.T, log *bytes.Buffer) map[string]any {
	t.Helper()
	r.server.slow.mu.Lock()
	defer r.server.slow.mu.Unlock()
	r.server.slow.next = time.Time{}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	line := map[string]any{}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		t.Fatalf("%v in %q", err, log)
	}
	if line["msg"] != "slow request" {
		t.Fatalf("the last line is %v", line)
	}
	return line
}

func TestSlowRequestsSayWhereTheTimeWent(t *testing.T) {
	r, log := slowRig(t)
	kv, ctx := pb.NewKVClient(r.conn), t.Context()
	for _, c := range []struct {
		call    func() error
		method  string
		request string
		times   []string // that are not 0
	}{
		{func() error {
			_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("key"), Value: []byte("secret")})
			return err
		}, "/etcdserverpb.KV/Put", `key "key" value of 6 bytes`, []string{"queue", "replicate", "apply"}},
		{func() error {
			_, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z"), Limit: 3})
			return err
		}, "/etcdserverpb.KV/Range", `keys "a" to "z" limit 3`, []string{"read_index"}},
		{func() error {
			_, err := r.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision("key"), "=", 0)).
				Then(clientv3.OpPut("key", "secret")).Commit()
			return err
		}, "/etcdserverpb.KV/Txn", `1 compares, the first of key "key", 1 and 0 operations`, []string{"queue", "replicate", "apply"}},
		{func() error {
			_, err := r.client.Grant(ctx, 60)
			return err
		}, "/etcdserverpb.Lease/LeaseGrant", "lease ", []string{"queue", "replicate", "apply"}},
	} {
		if err := c.call(); err != nil {
			t.Fatal(err)
		}
		line := r.lastSlow(t, log)
		if request, _ := line["request"].(string); line["method"] != c.method || !strings.HasPrefix(request, c.request) {
			t.Errorf("logged %v, want %s %s", line, c.method, c.request)
		}
		sum := line["rest"].(float64)
		for _, name := range []string{"queue", "replicate", "apply", "read_index", "unsettled"} {
			part, _ := line[name].(float64)
			sum += part
		}
		if sum != line["took"].(float64) {
			t.Errorf("the parts of %v do not add up", line)
		}
		for _, name := range c.times {
			if part, _ := line[name].(float64); part <= 0 {
				t.Errorf("%s has no %s: %v", c.method, name, line)
			}
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Error("a value was logged")
	}
}

func TestPasswordsAreNotLogged(t *testing.T) {
	for _, r := range []any{
		&pb.AuthenticateRequest{Name: "root", Password: "secret"},
		&pb.AuthUserAddRequest{Name: "user", Password: "secret", HashedPassword: "secret"},
		&pb.AuthUserChangePasswordRequest{Name: "user", Password: "secret", HashedPassword: "secret"},
	} {
		if s := summary(r); strings.Contains(s, "secret") || !strings.HasPrefix(s, "name ") {
			t.Errorf("%T is logged as %q", r, s)
		}
	}
}

func TestSlowRequestsAreNotAllLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l slowLog
		for i := range 1000 {
			if _, ok := l.turn(time.Now()); ok != (i == 0) {
				t.Fatalf("request %d of one moment: logged %t", i, ok)
			}
		}
		time.Sleep(slowLogInterval)
		if skipped, ok := l.turn(time.Now()); !ok || skipped != 999 {
			t.Errorf("later: logged %t, with %d left out; want 999", ok, skipped)
		}
	})
}

func TestMethodsAreCounted(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Extensive = true })
	r.put(t, "k", "v")
	if _, err := r.client.Put(t.Context(), "", "v"); err == nil {
		t.Fatal("a put without a key")
	}
	s := r.watch(t)
	s.create(&pb.WatchCreateRequest{Key: []byte("k")})
	s.next()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(r.server.Collectors()...)
	body := exposition(t, registry)
	const put = `grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"`
	const watch = `grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"`
	for _, want := range []string{
		"grpc_server_started_total{" + put + "} 2\n",
		`grpc_server_handled_total{grpc_code="OK",` + put + "} 1\n",
		`grpc_server_handled_total{grpc_code="InvalidArgument",` + put + "} 1\n",
		"grpc_server_handling_seconds_count{" + put + "} 2\n",
		"grpc_server_started_total{" + watch + "} 1\n",
		"grpc_server_msg_received_total{" + watch + "} 1\n",
		"grpc_server_msg_sent_total{" + watch + "} 1\n",
		"etcd_debugging_mvcc_watch_stream_total 1\n",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
}

// exposition is what a scrape of the registry sees.
func exposition(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}
