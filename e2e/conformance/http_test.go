package conformance

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// http makes one HTTP request to the client port and notes the answer. A client of
// its own for each keeps connections apart.
func (r *rig) http(method, path, body string, header ...string) (status int, answer []byte) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.ctx, method, r.cluster.Members[r.at].ClientURL+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: callTimeout}
	resp, err := client.Do(req)
	if err != nil {
		r.note("%s %s %.200s: %v", method, path, body, err)
		return 0, nil
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		r.note("%s %s: read: %v", method, path, err)
		return 0, nil
	}
	r.seen.requested(method+" "+strings.SplitN(path, "?", 2)[0], resp.StatusCode)
	r.note("%s %s %.200s", method, path, body)
	r.note("  → %d %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), r.transcript.json(answer))
	return resp.StatusCode, answer
}

// json returns an answer without what is a server's own choice. What is no JSON stays,
// with its lines sorted: etcd lists health checks in any order.
func (t *transcript) json(answer []byte) string {
	var v any
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		lines := strings.Split(string(answer), "\n")
		slices.Sort(lines)
		return strings.Join(lines, " / ")
	}
	t.normalizeJSON(v)
	out, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	// Messages of protojson vary their blanks so that nobody depends on them.
	return strings.Join(strings.Fields(string(out)), " ")
}

func (t *transcript) normalizeJSON(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			t.normalizeJSON(e)
		}
	case map[string]any:
		for name, value := range v {
			switch name {
			case "cluster_id", "member_id", "raft_term", "raftTerm", "raftIndex", "raftAppliedIndex", "dbSize", "dbSizeInUse", "leader":
				v[name] = "1"
			case "ID", "lease", "memberID":
				if id, ok := value.(string); ok {
					v[name] = t.idText(id)
				}
			default:
				t.normalizeJSON(value)
			}
		}
	}
}

// idText is ordinal for an id that JSON gives as a string.
func (t *transcript) idText(id string) string {
	if len(id) < len("4294967296") {
		return id
	}
	if t.ids == nil {
		t.ids = map[string]int{}
	}
	if _, known := t.ids[id]; !known {
		t.ids[id] = len(t.ids)
	}
	return fmt.Sprint("#", t.ids[id])
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// post posts JSON in which <x> stands for the base64 of x.
func (r *rig) post(path, body string) {
	r.Helper()
	for {
		before, rest, ok := strings.Cut(body, "<")
		if !ok {
			break
		}
		word, after, _ := strings.Cut(rest, ">")
		body = before + `"` + b64(word) + `"` + after
	}
	r.http("POST", path, body)
}

// postUnnoted posts JSON whose answer is not noted as a whole.
func (r *rig) postUnnoted(path, body string) (status int, answer []byte) {
	r.Helper()
	lines := r.transcript.lines
	status, answer = r.http("POST", path, body)
	r.transcript.lines = lines
	return status, answer
}

// stream posts JSON and notes the first n lines of the answer, which does not end.
func (r *rig) stream(path, body string, n int, meanwhile func()) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.ctx, "POST", r.cluster.Members[r.at].ClientURL+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: callTimeout}
	resp, err := client.Do(req)
	if err != nil {
		r.note("%s: %v", path, err)
		return
	}
	defer resp.Body.Close()
	r.seen.requested("POST "+path, resp.StatusCode)
	r.note("POST %s %s → %d", path, body, resp.StatusCode)
	lines := bufio.NewReader(resp.Body)
	for i := range n {
		line, err := lines.ReadBytes('\n')
		if err != nil && len(line) == 0 {
			r.note("  %v", err)
			return
		}
		r.note("  ← %s", r.transcript.json(line))
		if i == 0 && meanwhile != nil {
			meanwhile()
		}
	}
}

var gatewayBodies = []body{
	{"kv", func(r *rig) {
		r.post("/v3/kv/put", `{"key":<a>,"value":<1>}`)
		r.post("/v3/kv/put", `{"key":<a>,"value":<2>,"prev_kv":true}`)
		r.post("/v3/kv/put", `{"key":<b>,"value":<2>,"prevKv":true}`)
		r.post("/v3/kv/put", `{"key":<b>,"lease":"404"}`)
		r.post("/v3/kv/put", `{"key":<b>,"lease":404}`)
		r.post("/v3/kv/put", `{}`)
		r.post("/v3/kv/put", ``)
		r.post("/v3/kv/put", `{"key":"no base64!"}`)
		r.post("/v3/kv/put", `{"key":5}`)
		r.post("/v3/kv/put", `{"unknown":5}`)
		r.post("/v3/kv/put", `[1]`)
		r.post("/v3/kv/put", `{"key":<a>`)
		r.post("/v3/kv/put", `{"key":<a>,"value":<1>} trailing`)
		r.post("/v3/kv/range", `{"key":<a>}`)
		r.post("/v3/kv/range", `{"key":<a>,"range_end":<c>,"limit":1}`)
		r.post("/v3/kv/range", `{"key":<a>,"rangeEnd":<c>,"limit":"1"}`)
		r.post("/v3/kv/range", `{"key":<a>,"range_end":<c>,"sort_order":"DESCEND","sort_target":"KEY"}`)
		r.post("/v3/kv/range", `{"key":<a>,"range_end":<c>,"sort_order":2,"sort_target":0,"keys_only":true}`)
		r.post("/v3/kv/range", `{"key":<a>,"range_end":<c>,"sort_order":"SIDEWAYS"}`)
		r.post("/v3/kv/range", `{"key":<none>}`)
		r.post("/v3/kv/range", `{"key":<a>,"revision":"1000"}`)
		r.post("/v3/kv/txn", `{"compare":[{"key":<a>,"target":"VERSION","version":"2"}],"success":[{"requestPut":{"key":<t>,"value":<1>}}],"failure":[{"request_range":{"key":<a>}}]}`)
		r.post("/v3/kv/txn", `{"compare":[{"key":<a>,"target":"CREATE","createRevision":"99"}],"success":[],"failure":[{"request_range":{"key":<a>}}]}`)
		r.post("/v3/kv/txn", `{"success":[{"request_delete_range":{"key":<t>,"prev_kv":true}}]}`)
		r.post("/v3/kv/deleterange", `{"key":<b>,"prev_kv":true}`)
		r.post("/v3/kv/compaction", `{"revision":"3","physical":true}`)
		r.post("/v3/kv/compaction", `{"revision":"3"}`)
		r.post("/v3/kv/compaction", `{"revision":"300"}`)
		r.post("/v3/kv/range_stream", `{"key":<a>}`)
	}},
	{"lease", func(r *rig) {
		r.post("/v3/lease/grant", `{"TTL":100,"ID":7}`)
		r.post("/v3/lease/grant", `{"TTL":"100","ID":"7"}`)
		r.post("/v3/lease/grant", `{"TTL":"9000000001"}`)
		r.post("/v3/kv/put", `{"key":<l>,"lease":"7"}`)
		r.post("/v3/lease/timetolive", `{"ID":"404"}`)
		r.post("/v3/kv/lease/timetolive", `{"ID":"404","keys":true}`)
		r.post("/v3/lease/leases", `{}`)
		r.post("/v3/kv/lease/leases", `{}`)
		r.stream("/v3/lease/keepalive", `{"ID":7}`, 1, nil)
		r.post("/v3/lease/revoke", `{"ID":7}`)
		r.post("/v3/kv/lease/revoke", `{"ID":7}`)
	}},
	{"watch", func(r *rig) {
		r.stream("/v3/watch", `{"create_request":{"key":"dw=="}}`, 2, func() { r.post("/v3/kv/put", `{"key":<w>,"value":<1>}`) })
		r.stream("/v3/watch", `{"createRequest":{"key":"dw==","start_revision":"1"}}`, 2, nil)
	}},
	{"maintenance", func(r *rig) {
		r.post("/v3/maintenance/status", `{}`)
		r.post("/v3/maintenance/alarm", `{"action":"GET"}`)
		r.post("/v3/maintenance/alarm", `{"action":"DEACTIVATE","memberID":5,"alarm":"NOSPACE"}`)
		status, _ := r.postUnnoted("/v3/maintenance/defragment", `{}`) // coordd's answer has a header, etcd's has none
		r.note("defragment: %d", status)
		_, answer := r.postUnnoted("/v3/maintenance/snapshot", `{}`)
		r.note("a snapshot: %t", bytes.HasPrefix(answer, []byte(`{"result":{`)))
		status, _ = r.postUnnoted("/v3/maintenance/hash", `{}`)
		r.note("hash: %d", status)
		_, answer = r.postUnnoted("/v3/cluster/member/list", `{"linearizable":true}`)
		r.note("members: %d", bytes.Count(answer, []byte(`"clientURLs"`)))
		r.post("/v3/maintenance/hashkv", `{"revision":"1000"}`)
		r.post("/v3/maintenance/transfer-leadership", `{"targetID":"5"}`)
		r.post("/v3/maintenance/downgrade", `{"version":"x"}`)
		r.post("/v3/cluster/member/remove", `{"ID":"404"}`)
		r.post("/v3/cluster/member/promote", `{"ID":"404"}`)
		r.post("/v3/cluster/member/update", `{"ID":"404","peerURLs":["http://127.0.0.1:1"]}`)
		r.post("/v3/cluster/member/add", `{"peerURLs":["no url"]}`)
	}},
	{"auth", func(r *rig) {
		r.post("/v3/auth/status", `{}`)
		r.post("/v3/auth/authenticate", `{"name":"root","password":"r"}`)
		r.post("/v3/auth/user/add", `{"name":"root","password":"r"}`)
		r.post("/v3/auth/user/get", `{"name":"root"}`)
		r.post("/v3/auth/user/list", `{}`)
		r.post("/v3/auth/role/add", `{"name":"root"}`)
		r.post("/v3/auth/role/list", `{}`)
		r.post("/v3/auth/role/get", `{"role":"root"}`)
		r.post("/v3/auth/role/grant", `{"name":"root","perm":{"permType":"READWRITE","key":<a>}}`)
		r.post("/v3/auth/role/revoke", `{"role":"root","key":<a>}`)
		r.post("/v3/auth/user/grant", `{"user":"root","role":"root"}`)
		r.post("/v3/auth/user/changepw", `{"name":"root","password":"r2"}`)
		r.post("/v3/auth/enable", `{}`)
		r.post("/v3/kv/range", `{"key":<a>}`)
		r.http("POST", "/v3/kv/range", `{"key":"YQ=="}`, "Authorization", "garbage")
		_, answer := r.postUnnoted("/v3/auth/authenticate", `{"name":"root","password":"r2"}`)
		var login struct{ Token string }
		if err := json.Unmarshal(answer, &login); err != nil {
			r.Fatal(err)
		}
		r.http("POST", "/v3/kv/range", `{"key":"YQ=="}`, "Authorization", login.Token)
		r.http("POST", "/v3/kv/range", `{"key":"YQ=="}`, "Grpc-Metadata-Token", login.Token)
		r.http("POST", "/v3/auth/disable", `{}`, "Authorization", login.Token)
		r.post("/v3/auth/user/revoke", `{"name":"root","role":"root"}`)
		r.post("/v3/auth/role/delete", `{"role":"root"}`)
		r.post("/v3/auth/user/delete", `{"name":"root"}`)
	}},
	{"locks", func(r *rig) {
		r.post("/v3/lease/grant", `{"TTL":100,"ID":9}`)
		r.post("/v3/lock/lock", `{"name":<lock>,"lease":"9"}`)
		r.post("/v3/lock/unlock", `{"key":<lock/9>}`)
		// A lease that there is not is Unknown in etcd, which loses the code: on purpose not so here.
		r.post("/v3/election/campaign", `{"name":<e>,"lease":"9","value":<me>}`)
		r.post("/v3/election/leader", `{"name":<e>}`)
		r.post("/v3/election/leader", `{"name":<none>}`)
		r.post("/v3/election/proclaim", `{"leader":{"name":<e>,"key":<e/9>,"rev":"1","lease":"9"},"value":<you>}`)
		r.stream("/v3/election/observe", `{"name":"ZQ=="}`, 1, nil)
		r.post("/v3/election/resign", `{"leader":{"name":<e>,"key":<e/9>,"rev":"1","lease":"9"}}`)
	}},
	{"routes", func(r *rig) {
		r.http("GET", "/v3/kv/range", "")
		r.http("PUT", "/v3/kv/range", "{}")
		r.http("POST", "/v3/kv/nothing", "{}")
		r.http("POST", "/v3/", "{}")
		r.http("GET", "/", "")
		r.http("GET", "/nothing", "")
		r.http("OPTIONS", "/v3/kv/range", "")
		r.http("POST", "/v3beta/kv/range", "{}")
	}},
}

var healthBodies = []body{
	{"health", func(r *rig) {
		for _, path := range []string{
			"/health", "/health?serializable=true", "/health?serializable=1", "/health?serializable=false", "/health?exclude=NOSPACE", "/health?exclude=nonsense",
			"/livez", "/livez?verbose", "/livez?exclude=serializable_read", "/livez?exclude=nothing&verbose", "/livez/serializable_read", "/livez/nothing",
			"/readyz", "/readyz?verbose", "/readyz?verbose=true&exclude=data_corruption", "/readyz?exclude=nothing", "/readyz/linearizable_read", "/readyz/data_corruption",
			"/readyz/serializable_read", "/readyz/non_learner", "/readyz/linearizable_read?verbose", "/version",
		} {
			r.http("GET", path, "")
		}
		for _, path := range []string{"/health", "/livez", "/version"} {
			r.http("POST", path, "")
			r.http("DELETE", path, "")
		}
	}},
	{"alarms", func(r *rig) {
		r.post("/v3/maintenance/alarm", `{"action":"ACTIVATE","memberID":"5","alarm":"NOSPACE"}`)
		for _, path := range []string{"/health", "/health?exclude=NOSPACE", "/health?exclude=CORRUPT", "/livez?verbose", "/readyz?verbose"} {
			r.http("GET", path, "")
		}
		r.post("/v3/maintenance/alarm", `{"action":"DEACTIVATE","memberID":"5","alarm":"NOSPACE"}`)
		r.post("/v3/maintenance/alarm", `{"action":"ACTIVATE","memberID":"5","alarm":"CORRUPT"}`)
		for _, path := range []string{"/health", "/health?exclude=CORRUPT", "/livez?verbose", "/readyz?verbose", "/readyz?verbose&exclude=data_corruption", "/readyz/data_corruption"} {
			r.http("GET", path, "")
		}
		r.post("/v3/maintenance/alarm", `{"action":"DEACTIVATE","memberID":"5","alarm":"CORRUPT"}`)
		r.http("GET", "/health", "")
	}},
}

// settle waits until the versions of cluster and store are known: etcd agrees on them a
// while after it has begun to serve.
func (r *rig) settle() {
	r.Helper()
	lines := r.transcript.lines
	for deadline := time.Now().Add(callTimeout); ; time.Sleep(50 * time.Millisecond) {
		if _, answer := r.http("GET", "/version", ""); bytes.Contains(answer, []byte(`"etcdcluster":"3.7.0","storage":"3.7.0"`)) {
			break
		} else if time.Now().After(deadline) {
			r.Fatalf("the version is %s", answer)
		}
	}
	r.transcript.lines = lines
}
