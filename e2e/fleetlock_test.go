package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/tlsconfig/certtest"
	"github.com/coordd/coordd/e2e/cluster"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// door is where FleetLock is served, by base URLs without a slash at the end, and the store behind it.
type door struct {
	bases []string
	store []string
}

// doors starts coordd's own in a cluster of three, and locksmithctl serve before a real etcd.
func doors(t *testing.T, groups string) map[string]door {
	t.Helper()
	c := startCluster(t, 3, "--fleet-lock", "--fleet-lock-groups", groups)
	own := door{store: c.Endpoints()}
	for _, endpoint := range c.Endpoints() {
		own.bases = append(own.bases, endpoint+"/fleetlock")
	}
	etcd := startEtcd(t).Endpoints()
	return map[string]door{"coordd": own, "etcd": {[]string{startServe(t, "-endpoint", etcd[0], "serve", "-groups", groups)}, etcd}}
}

// startServe runs locksmithctl serve until the test ends, when it must end well.
func startServe(t *testing.T, args ...string) (base string) {
	t.Helper()
	cmd := exec.Command(program(t, "bin/locksmithctl"), append(args, "-listen", "127.0.0.1:0")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(log)
	for base == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("serve has ended: %q", line)
		}
		if m := regexp.MustCompile(`base_url=(\S+)/ `).FindStringSubmatch(line); m != nil {
			base = m[1]
		}
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		io.Copy(io.Discard, lines)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-drained
		if err := cmd.Wait(); err != nil {
			t.Errorf("locksmithctl serve: %v", err)
		}
	})
	return base
}

// locksmithctl runs a command on the store of a door, for a group.
func (d door) locksmithctl(t *testing.T, group string, args ...string) string {
	t.Helper()
	args = append([]string{"-endpoint", strings.Join(d.store, ","), "-group", group}, args...)
	out, err := exec.CommandContext(within(t, time.Minute), program(t, "bin/locksmithctl"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("locksmithctl %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// refusal is the body of every answer but success.
type refusal struct{ Kind, Value string }

func fleetLockBody(id, group string) string {
	return fmt.Sprintf("{\n  \"client_params\": {\n    \"id\": %q,\n    \"group\": %q\n  }\n}", id, group)
}

// ask asks as fleetlockctl does: a Go client that sets the one header.
func ask(ctx context.Context, base, operation, id, group string) (status int, r refusal, err error) {
	request, err := http.NewRequestWithContext(ctx, "POST", base+"/v1/"+operation, strings.NewReader(fleetLockBody(id, group)))
	if err != nil {
		return 0, r, err
	}
	request.Header = http.Header{"fleet-lock-protocol": {"true"}} // in small letters, as there
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, r, err
	}
	defer response.Body.Close()
	return response.StatusCode, r, json.NewDecoder(response.Body).Decode(&r)
}

func wantAnswer(t *testing.T, base, operation, id, group string, status int, kind string) refusal {
	t.Helper()
	got, r, err := ask(within(t, time.Minute), base, operation, id, group)
	if err != nil || got != status || r.Kind != kind {
		t.Errorf("%s of %s in %s: %d %+v, %v, want %d %q", operation, id, group, got, r, err, status, kind)
	}
	return r
}

func TestFleetLock(t *testing.T) {
	for name, d := range doors(t, "workers,default") {
		t.Run(name, func(t *testing.T) {
			t.Run("raw requests", func(t *testing.T) { testRawFleetLock(t, d) })
			t.Run("fifty at once", func(t *testing.T) { testFleetLockAtOnce(t, d) })
			t.Run("beside locksmithctl", func(t *testing.T) { testFleetLockBesideOthers(t, d) })
			wantAnswer(t, d.bases[0], "pre-reboot", "a", "nobody.knows", 400, "unknown_group")
			keys, err := newClient(t, d.store...).Get(within(t, time.Minute), "locksmith/groups/nobody", clientv3.WithPrefix())
			if err != nil || len(keys.Kvs) != 0 {
				t.Errorf("keys of a group that is not served: %v, %v", keys, err)
			}
		})
	}
}

// exchange sends bytes and returns the status and JSON body of each answer until the server closes or there are n.
func exchange(t *testing.T, base, request string, n int) (answers []string) {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	request = strings.NewReplacer("BASE", u.Path, "HOST", u.Host).Replace(request)
	go io.WriteString(conn, request) // the server may answer before it has read all
	reader := bufio.NewReader(conn)
	for len(answers) < n {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return append(answers, err.Error())
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		var r refusal
		if err == nil {
			err = json.Unmarshal(body, &r)
		}
		if err != nil || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%d %s %q: %v", response.StatusCode, response.Header, body, err)
		}
		answers = append(answers, strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", r.Kind)))
	}
	return answers
}

func testRawFleetLock(t *testing.T, d door) {
	body := fleetLockBody("c988d2509fdf5cdcbed39037c56406fb", "workers")
	zincati := func(operation string) string { // reqwest: these headers, in this order, and no content type
		return "POST BASE/v1/" + operation + " HTTP/1.1\r\nfleet-lock-protocol: true\r\naccept: */*\r\nhost: HOST\r\n" +
			fmt.Sprintf("content-length: %d\r\n\r\n%s", len(body), body)
	}
	head := "POST BASE/v1/pre-reboot HTTP/1.1\r\nHost: HOST\r\n"
	for _, c := range []struct {
		what, request string
		want          []string
	}{
		{"Zincati, on one connection", zincati("steady-state") + zincati("pre-reboot") + zincati("pre-reboot") + zincati("steady-state") + zincati("steady-state"),
			[]string{"200", "200", "200", "200", "200"}},
		{"HTTP/1.0", fmt.Sprintf("POST BASE/v1/pre-reboot HTTP/1.0\r\nFleet-Lock-Protocol: true\r\nContent-Length: %d\r\n\r\n%s", len(body), body), []string{"200"}},
		{"in chunks", head + "fleet-lock-protocol: true\r\nTransfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 10, body[:10], len(body)-10, body[10:]), []string{"200"}},
		{"curl -d", head + "fleet-lock-protocol: true\r\nContent-Type: application/x-www-form-urlencoded\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body), []string{"200"}},
		{"a doubled slash", strings.Replace(zincati("steady-state"), "BASE/v1", "BASE//v1", 1), []string{"200"}},
		{"no header", head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body), []string{"400 missing_fleet_lock_header"}},
		{"GET", "GET BASE/v1/pre-reboot HTTP/1.1\r\nHost: HOST\r\nfleet-lock-protocol: true\r\n\r\n", []string{"405 method_not_allowed"}},
		{"another path", "POST BASE/v1/reboot HTTP/1.1\r\nHost: HOST\r\nfleet-lock-protocol: true\r\nContent-Length: 0\r\n\r\n", []string{"404 not_found"}},
		{"HTML", head + "fleet-lock-protocol: true\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>", []string{"400 invalid_request"}},
		{"a megabyte", head + "fleet-lock-protocol: true\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("[", 1<<20), []string{"413 invalid_request"}},
		{"a megabyte in chunks", head + "fleet-lock-protocol: true\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat(" ", 4096)+"\r\n", 256), []string{"413 invalid_request"}},
		{"NUL in the id", head + "fleet-lock-protocol: true\r\nContent-Length: 51\r\n\r\n" + `{"client_params":{"id":"\u0000","group":"workers"}}`, []string{"400 invalid_request"}},
	} {
		if got := exchange(t, d.bases[0], c.request, len(c.want)); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	if got := d.locksmithctl(t, "workers", "status"); got != "Available: 1\nMax: 1\n" {
		t.Errorf("status: %s", got)
	}
}

// Fifty machines at once get three slots, by whichever member they ask.
func testFleetLockAtOnce(t *testing.T, d door) {
	d.locksmithctl(t, "workers", "set-max", "3")
	ctx := within(t, time.Minute)
	answers := make([]string, 50)
	var asking sync.WaitGroup
	for i := range answers {
		asking.Go(func() {
			status, r, err := ask(ctx, d.bases[i%len(d.bases)], "pre-reboot", fmt.Sprint("m", i), "workers")
			answers[i] = fmt.Sprint(status, r.Kind, err)
		})
	}
	asking.Wait()
	counts := map[string]int{}
	for _, a := range answers {
		counts[a]++
	}
	if counts["200<nil>"] != 3 || counts["409failed_lock_semaphore_full<nil>"] != 47 {
		t.Errorf("answers: %v", counts)
	}
	for i, a := range answers {
		if a == "200<nil>" {
			wantAnswer(t, d.bases[(i+1)%len(d.bases)], "steady-state", fmt.Sprint("m", i), "workers", 200, "")
		}
	}
	if got := d.locksmithctl(t, "workers", "status"); got != "Available: 3\nMax: 3\n" {
		t.Errorf("status: %s", got)
	}
}

// The slots are those of locksmithctl and locksmithd.
func testFleetLockBesideOthers(t *testing.T, d door) {
	base := d.bases[0]
	d.locksmithctl(t, "default", "lock", "operated")
	if r := wantAnswer(t, base, "pre-reboot", "asking", "default", 409, "failed_lock_semaphore_full"); !strings.Contains(r.Value, "held by operated since") {
		t.Errorf("who holds is not said: %s", r.Value)
	}
	wantAnswer(t, base, "pre-reboot", "operated", "default", 200, "")
	wantAnswer(t, base, "steady-state", "operated", "default", 200, "")
	if got := d.locksmithctl(t, "default", "status"); !strings.Contains(got, "operated") {
		t.Errorf("a FleetLock client has given back an operator's slot: %s", got)
	}
	d.locksmithctl(t, "default", "unlock", "operated")
	wantAnswer(t, base, "pre-reboot", "asking", "default", 200, "")
	d.locksmithctl(t, "default", "unlock", "asking") // it does not come back
	wantAnswer(t, base, "pre-reboot", "next", "default", 200, "")
	wantAnswer(t, base, "steady-state", "asking", "default", 200, "") // but it does
	wantAnswer(t, base, "steady-state", "next", "default", 200, "")
}

// Without a quorum clients are told, by both doors, and go on where they were once it is back.
func TestFleetLockWithoutAQuorum(t *testing.T) {
	c := startCluster(t, 3, "--fleet-lock")
	bases := []string{c.Members[0].ClientURL + "/fleetlock", startServe(t, "-endpoint", c.Members[0].ClientURL, "-timeout", "2s", "serve")}
	wantAnswer(t, bases[0], "pre-reboot", "a", "default", 200, "")
	for _, m := range c.Members[1:] {
		m.Kill()
	}
	var asking sync.WaitGroup
	for _, base := range bases {
		asking.Go(func() { wantAnswer(t, base, "steady-state", "a", "default", 503, "store_unavailable") })
		asking.Go(func() { wantAnswer(t, base, "pre-reboot", "b", "default", 503, "store_unavailable") })
	}
	asking.Wait()
	response, err := http.Get(c.Members[0].ClientURL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || !bytes.Contains(text, []byte(`locksmith_fleetlock_requests_total{operation="steady-state",result="store_unavailable"} 1`)) || bytes.Contains(text, []byte("locksmith_slots_held")) {
		t.Errorf("metrics without a quorum: %v\n%s", err, text)
	}
	for _, m := range c.Members[1:] {
		if err := errors.Join(m.Start(), m.AwaitReady(within(t, time.Minute))); err != nil {
			t.Fatal(err)
		}
	}
	wantAnswer(t, bases[1], "pre-reboot", "a", "default", 200, "")
	wantAnswer(t, bases[1], "pre-reboot", "b", "default", 409, "failed_lock_semaphore_full")
	wantAnswer(t, bases[0], "steady-state", "a", "default", 200, "")
}

// withUsers gives a store user root, password r, and user fleetlock, without one, who may change slots.
func withUsers(t *testing.T, c *clientv3.Client) {
	t.Helper()
	ctx := within(t, time.Minute)
	_, err := c.RoleAdd(ctx, "reboots")
	if err == nil {
		_, err = c.RoleGrantPermission(ctx, "reboots", "locksmith/", clientv3.GetPrefixRangeEnd("locksmith/"), clientv3.PermissionType(clientv3.PermReadWrite))
	}
	for _, user := range []struct{ name, role string }{{"root", "root"}, {"fleetlock", "reboots"}} {
		if err == nil {
			_, err = c.UserAddWithOptions(ctx, user.name, "", &clientv3.UserAddOptions{NoPassword: true})
		}
		if err == nil {
			_, err = c.UserGrantRole(ctx, user.name, user.role)
		}
	}
	if err == nil {
		_, err = c.AuthEnable(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Where the store has users nobody changes slots whom the operator has not let in.
func TestFleetLockWithUsers(t *testing.T) {
	t.Run("nobody", func(t *testing.T) {
		m := startCluster(t, 1, "--fleet-lock").Members[0]
		withUsers(t, newClient(t, m.ClientURL))
		wantAnswer(t, m.ClientURL+"/fleetlock", "pre-reboot", "a", "default", 403, "permission_denied")
		wantAnswer(t, m.ClientURL+"/fleetlock", "steady-state", "a", "default", 403, "permission_denied")
	})
	t.Run("token", func(t *testing.T) {
		tokens := filepath.Join(t.TempDir(), "tokens")
		if err := os.WriteFile(tokens, []byte("0123456789abcdef\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m := startCluster(t, 1, "--fleet-lock", "--fleet-lock-user", "fleetlock", "--fleet-lock-token-file", tokens).Members[0]
		withUsers(t, newClient(t, m.ClientURL))
		base := m.ClientURL + "/fleetlock"
		wantAnswer(t, base, "pre-reboot", "a", "default", 401, "unauthorized")
		shown := strings.Replace(base, "://", "://zincati:0123456789abcdef@", 1) // as it stands in a client's settings
		wantAnswer(t, shown, "pre-reboot", "a", "default", 200, "")
		wantAnswer(t, shown, "steady-state", "a", "default", 200, "")
	})
	t.Run("certificate", testFleetLockByCertificate)
}

func testFleetLockByCertificate(t *testing.T) {
	dir := t.TempDir()
	ca := certtest.NewAuthority(t, dir, "ca")
	server := ca.Issue(t, dir, "server", "server", nil)
	c := startSpec(t, cluster.Spec{Size: 1, ClientScheme: "https", Flags: []string{
		"--cert-file", server.CertFile, "--key-file", server.KeyFile, "--trusted-ca-file", ca.File, "--client-cert-auth", "--fleet-lock"}})
	machine, stranger := clientTLS(t, ca.File, ca.Issue(t, dir, "m", "fleetlock", nil)), clientTLS(t, ca.File, ca.Issue(t, dir, "s", "stranger", nil))
	withUsers(t, newTLSClient(t, stranger, c.Endpoints()...))
	for _, who := range []struct {
		client *http.Client
		status int
	}{
		{&http.Client{Transport: &http.Transport{TLSClientConfig: machine}}, 200},
		{&http.Client{Transport: &http.Transport{TLSClientConfig: stranger}}, 403},
		{&http.Client{Transport: &http.Transport{TLSClientConfig: machine, ForceAttemptHTTP2: true}}, 200}, // as reqwest: it offers h2 too
	} {
		r, err := http.NewRequestWithContext(within(t, time.Minute), "POST", c.Members[0].ClientURL+"/fleetlock/v1/pre-reboot", strings.NewReader(fleetLockBody("a", "default")))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("fleet-lock-protocol", "true")
		response, err := who.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != who.status {
			t.Errorf("%s: %s, want %d", response.Status, text, who.status)
		}
	}
}

// TestTheLinesOfFleetLock runs what docs/REBOOTS.md shows. Behind each line stands what is answered, up to "…".
func TestTheLinesOfFleetLock(t *testing.T) {
	m := startCluster(t, 1, "--fleet-lock").Members[0]
	text := section(t, "REBOOTS.md", "FleetLock, for Zincati and fleetlockctl")
	script := strings.ReplaceAll(blocks(text, "sh"), "127.0.0.1:2379", strings.TrimPrefix(m.ClientURL, "http://"))
	got := strings.Split(strings.TrimSpace(run(t, script, "bash", "-eu")), "\n")
	want := regexp.MustCompile(` # (\{.*)\n`).FindAllStringSubmatch(script, -1)
	if len(want) != 6 || len(got) != len(want) {
		t.Fatalf("%d answers, %d are shown:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i, line := range want {
		shown, _, more := strings.Cut(line[1], "…")
		if got[i] != shown && !(more && strings.HasPrefix(got[i], shown)) {
			t.Errorf("answer %d is %s, not %s", i+1, got[i], line[1])
		}
	}
}
