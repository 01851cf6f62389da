package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	"github.com/coordd/coordd/proto/v3lockpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// startEtcd runs one real etcd until the test ends.
func startEtcd(t testing.TB, flags ...string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(within(t, time.Minute), cluster.Spec{Program: program(t, "e2e/peers/bin/etcd"), Size: 1, Dir: t.TempDir(), Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return c
}

// both starts coordd and etcd and returns their client URLs.
func both(t testing.TB) (coordd, etcd string) {
	t.Helper()
	return startCluster(t, 1).Members[0].ClientURL, startEtcd(t).Members[0].ClientURL
}

// gatewaySteps are asked of coordd and of etcd in this order. Keys and values are base64:
// Zm9v is foo, YmFy is bar, bG9jaw== is lock, ZQ== is e.
var gatewaySteps = []struct{ path, body string }{
	{"/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`},
	{"/v3/kv/put", `{"key":"Zm9v","value":"YmFyMg==","prev_kv":true}`},
	{"/v3/kv/put", `{"key":"Zm9v","value":"YmFyMw==","prevKv":true}`},
	{"/v3beta/kv/range", `{"key":"Zm9v"}`},
	{"/v3/kv/range", `{"key":"Zm9v","limit":"1","revision":2}`},
	{"/v3/kv/range", `{"key":"AA==","range_end":"AA==","keysOnly":true,"sort_order":"DESCEND","sortTarget":"MOD"}`},
	{"/v3/kv/range", `{"key":"Zm9v","sort_order":1,"nobody_knows":{"this":[1,2]}}`},
	{"/v3/kv/range", `{"key":"Zm9v","revision":"99"}`},
	{"/v3/kv/range", `{"key":"Zm9v"`},
	{"/v3/kv/range", `{"key":"!!"}`},
	{"/v3/kv/range", `{"key":7}`},
	{"/v3/kv/range", `{"sort_order":"SIDEWAYS"}`},
	{"/v3/kv/range", `{}`},
	{"/v3/kv/range", ``},
	{"/v3/kv/range", `[]`},
	{"/v3/kv/range", `null`},
	{"/v3/kv/range", "\x00\xff"},
	{"/v3/kv/txn", `{"compare":[{"key":"Zm9v","target":"VALUE","value":"YmFyMw==","result":"EQUAL"}],
		"success":[{"request_put":{"key":"YQ==","value":"Yg=="}},{"requestRange":{"key":"YQ=="}}],
		"failure":[{"request_delete_range":{"key":"YQ=="}}]}`},
	{"/v3/kv/txn", `{"success":[{"requestDeleteRange":{"key":"YQ==","prev_kv":true}}]}`},
	{"/v3/kv/txn", `{"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"YQ=="}}]}`},
	{"/v3/kv/deleterange", `{"key":"bm9uZQ=="}`},
	{"/v3/kv/compaction", `{"revision":"2","physical":true}`},
	{"/v3/kv/compaction", `{"revision":"2"}`},
	{"/v3/kv/put", `{"key":"Zm9v","lease":"7"}`},
	{"/v3/lease/grant", `{"TTL":"600","ID":77}`},
	{"/v3/lease/grant", `{"TTL":600,"ID":"77"}`},
	{"/v3/kv/put", `{"key":"bGVhc2Vk","value":"eA==","lease":77}`},
	{"/v3/lease/timetolive", `{"ID":"77","keys":true}`},
	{"/v3/kv/lease/timetolive", `{"ID":77}`},
	{"/v3/lease/timetolive", `{"ID":"78"}`},
	{"/v3/lease/timetolive", `{}`},
	{"/v3/lease/leases", `{}`},
	{"/v3/kv/lease/leases", `{}`},
	{"/v3/lease/keepalive", `{"ID":"77"}`},
	{"/v3/lease/keepalive", `{"ID":"78"}`},
	{"/v3/kv/lease/revoke", `{"ID":1}`},
	{"/v3/lock/lock", `{"name":"bG9jaw==","lease":77}`},
	{"/v3/lock/lock", `{"name":"bG9jaw==","lease":"77"}`},
	{"/v3/lock/unlock", `{"key":"bG9jay80ZA=="}`},
	{"/v3/lock/unlock", `{"key":"bG9jay80ZA=="}`},
	{"/v3/election/leader", `{"name":"ZQ=="}`},
	{"/v3/election/campaign", `{"name":"ZQ==","value":"dg==","lease":77}`},
	{"/v3/election/leader", `{"name":"ZQ=="}`},
	{"/v3/election/proclaim", `{"leader":{"name":"ZQ==","key":"ZS80ZA==","rev":"8","lease":"77"},"value":"dw=="}`},
	{"/v3/election/proclaim", `{"leader":{"name":"ZQ==","key":"ZS80ZA==","rev":"10","lease":"77"},"value":"dw=="}`},
	{"/v3/election/proclaim", `{}`},
	{"/v3/election/campaign", `{"name":"ZQ==","value":"eA==","lease":77}`},
	{"/v3/election/resign", `{"leader":{"name":"ZQ==","key":"ZS80ZA==","rev":"1"}}`},
	{"/v3/election/resign", `{}`},
	{"/v3/lease/revoke", `{"ID":77}`},
	{"/v3/cluster/member/list", `{"linearizable":true}`},
	{"/v3/auth/status", `{}`},
	{"/v3/auth/authenticate", `{"name":"root","password":"x"}`},
	{"/v3/nothing", `{}`},
	{"/v3/kv/rangestream", `{"key":"Zm9v"}`},
}

// own matches what belongs to one cluster and differs between two.
var own = regexp.MustCompile(`"(cluster_id|member_id|raft_term|leader)":"\d+"|"members":\[.*\]|"TTL":"(599|600)"`)

// comparable is an answer less what belongs to one cluster, and less the blanks
// in which the JSON of two programs differs at random.
func comparable(answer string) string {
	var compact bytes.Buffer
	for _, line := range strings.Split(answer, "\n") {
		if json.Compact(&compact, []byte(line)) != nil {
			compact.WriteString(line)
		}
	}
	return own.ReplaceAllString(strings.ReplaceAll(compact.String(), "\u00a0", " "), `"$1":…`)
}

func TestGatewayAnswersAsEtcd(t *testing.T) {
	coordd, etcd := both(t)
	for _, step := range gatewaySteps {
		got, want := post(t, coordd+step.path, step.body), post(t, etcd+step.path, step.body)
		if got != want {
			t.Errorf("%s %s:\n got %s\nwant %s", step.path, step.body, got, want)
		}
	}
}

// post returns what a client sees of an answer.
func post(t *testing.T, url, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", url, body, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", url, body, err)
	}
	return fmt.Sprintf("%d %s %s %s", response.StatusCode, response.Header.Get("Content-Type"),
		response.Header.Get("Grpc-Metadata-Content-Type"), comparable(string(answer)))
}

// TestGatewayStreamsAsEtcd reads the first lines of endless answers.
func TestGatewayStreamsAsEtcd(t *testing.T) {
	coordd, etcd := both(t)
	for _, step := range []struct {
		path, body string
		lines      int
	}{
		{"/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`, 1},
		{"/v3/kv/deleterange", `{"key":"Zm9v"}`, 1},
		{"/v3/watch", `{"create_request":{"key":"Zm9v","startRevision":"1","prev_kv":true}}`, 2},
		{"/v3/watch", `{"createRequest":{"key":"Zm9v","start_revision":"-1"}}`, 1},
		{"/v3/watch", `{"create_request":{"key":"Zm9v"}}{"create_request":{"key":"Zm9v","watch_id":9}}`, 2},
		{"/v3/lease/grant", `{"TTL":"600","ID":77}`, 1},
		{"/v3/election/campaign", `{"name":"ZQ==","value":"dg==","lease":77}`, 1},
		{"/v3/election/observe", `{"name":"ZQ=="}`, 1},
	} {
		got, want := firstLines(t, coordd+step.path, step.body, step.lines), firstLines(t, etcd+step.path, step.body, step.lines)
		if got != want {
			t.Errorf("%s %s:\n got %s\nwant %s", step.path, step.body, got, want)
		}
	}
}

func firstLines(t *testing.T, url, body string, n int) string {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t, 20*time.Second))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var lines []string
	for scanner := bufio.NewScanner(response.Body); len(lines) < n && scanner.Scan(); {
		lines = append(lines, comparable(scanner.Text()))
	}
	if len(lines) < n {
		t.Fatalf("%s %s: %d lines, want %d: %q", url, body, len(lines), n, lines)
	}
	return strings.Join(lines, "\n")
}

// TestLockServiceExcludesTheLibrary: on both, a lock taken over JSON with curl
// keeps out etcd's own lock library and clients of the gRPC service.
func TestLockServiceExcludesTheLibrary(t *testing.T) {
	coordd, etcd := both(t)
	for name, url := range map[string]string{"coordd": coordd, "etcd": etcd} {
		t.Run(name, func(t *testing.T) {
			ctx := within(t, 30*time.Second)
			client := newClient(t, url)
			session, err := concurrency.NewSession(client)
			if err != nil {
				t.Fatal(err)
			}
			mutex := concurrency.NewMutex(session, "lock")
			if err := mutex.Lock(ctx); err != nil {
				t.Fatal(err)
			}
			curl := exec.CommandContext(ctx, "curl", "-sS", url+"/v3/lock/lock", "-d", `{"name":"bG9jaw=="}`)
			var held strings.Builder
			curl.Stdout = &held
			if err := curl.Start(); err != nil {
				t.Fatal(err)
			}
			awaitKeys(t, client, "lock/", 2)
			if held.Len() > 0 {
				t.Fatalf("two hold the lock: %s", held.String())
			}
			if err := mutex.Unlock(ctx); err != nil {
				t.Fatal(err)
			}
			if err := curl.Wait(); err != nil || !strings.Contains(held.String(), `"key"`) {
				t.Fatalf("lock from curl: %s, %v", held.String(), err)
			}
			if err := mutex.TryLock(ctx); err != concurrency.ErrLocked {
				t.Fatalf("TryLock of a lock that is held: %v", err)
			}
			keys, err := client.Get(ctx, "lock/", clientv3.WithPrefix())
			if err != nil || len(keys.Kvs) != 1 {
				t.Fatalf("keys of the lock: %v, %v", keys, err)
			}
			locks := v3lockpb.NewLockClient(client.ActiveConnection())
			if _, err := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: keys.Kvs[0].Key}); err != nil {
				t.Fatal(err)
			}
			if err := mutex.TryLock(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}
