package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/coordd/tlsconfig/certtest"
)

// startServe runs serve until the test ends, when it must end with 0, and returns its base URL.
func startServe(t *testing.T, args ...string) (base string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"serve", "-listen", "127.0.0.1:0"}, args...), nil, io.Discard, write)
		write.Close()
	}()
	lines := bufio.NewScanner(read)
	for base == "" && lines.Scan() {
		t.Log(lines.Text())
		if m := regexp.MustCompile(`base_url=(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			base = m[1]
		}
	}
	if base == "" {
		t.Fatalf("serve has ended with %d", <-code)
	}
	go io.Copy(io.Discard, read)
	t.Cleanup(func() {
		cancel()
		if got := <-code; got != 0 {
			t.Errorf("exit code %d", got)
		}
	})
	return base
}

// ask sends a request as Zincati does, and returns status and body.
func ask(t *testing.T, client *http.Client, url, token, group string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(`{"client_params":{"id":"a","group":"`+group+`"}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("fleet-lock-protocol", "true")
	if token != "" {
		r.SetBasicAuth("zincati", token)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return finish(t, response)
}

func finish(t *testing.T, response *http.Response) (int, string) {
	t.Helper()
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return finish(t, response)
}

func TestServe(t *testing.T) {
	endpoint := coorddtest.Start(t)
	base := startServe(t, "-endpoint", endpoint, "-groups", "workers,controllers")
	for _, step := range []struct {
		path, group string
		status      int
	}{
		{"v1/steady-state", "workers", 200}, {"v1/pre-reboot", "workers", 200}, {"/v1/pre-reboot", "workers", 200},
		{"v1/pre-reboot", "default", 400}, {"v1/other", "workers", 404}, {"/healthz", "workers", 404},
	} {
		if status, text := ask(t, http.DefaultClient, base+step.path, "", step.group); status != step.status {
			t.Errorf("%s of %s: %d %s, want %d", step.path, step.group, status, text, step.status)
		}
	}
	if status, text := get(t, base+"healthz"); status != 200 || text != "ok\n" {
		t.Errorf("healthz: %d %s", status, text)
	}
	status, text := get(t, base+"metrics")
	for _, want := range []string{
		`locksmith_fleetlock_requests_total{operation="pre-reboot",result="ok"} 2`,
		`locksmith_slots_held{group="workers"} 1`, `locksmith_slots_max{group="controllers"} 1`, "go_goroutines", "process_open_fds",
	} {
		if status != 200 || !strings.Contains(text, want) {
			t.Errorf("metrics: %d, no %s", status, want)
		}
	}
	other := startServe(t, "-endpoint", endpoint, "-group", "workers") // the same slots
	if status, text := ask(t, http.DefaultClient, other+"v1/steady-state", "", "workers"); status != 200 {
		t.Errorf("by way of another server: %d %s", status, text)
	}
	if _, text := get(t, base+"metrics"); !strings.Contains(text, `locksmith_slots_held{group="workers"} 0`) {
		t.Error("the slot was not given back")
	}
}

func TestServeWithoutAStore(t *testing.T) {
	base := startServe(t, "-endpoint", "http://127.0.0.1:1", "-timeout", "100ms")
	if status, text := ask(t, http.DefaultClient, base+"v1/pre-reboot", "", "default"); status != 503 || !strings.Contains(text, `"kind":"store_unavailable"`) {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := get(t, base+"healthz"); status != 503 {
		t.Errorf("healthz: %d", status)
	}
}

func TestServeSecured(t *testing.T) {
	dir := t.TempDir()
	authority, stranger := certtest.NewAuthority(t, dir, "ca"), certtest.NewAuthority(t, dir, "stranger")
	server := authority.Issue(t, dir, "server", "server", nil)
	tokens := filepath.Join(dir, "tokens")
	const token = "0123456789abcdef"
	if err := os.WriteFile(tokens, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := startServe(t, "-endpoint", coorddtest.Start(t), "-token-file", tokens,
		"-tls-cert-file", server.CertFile, "-tls-key-file", server.KeyFile, "-client-ca-file", authority.File)
	if !strings.HasPrefix(base, "https://") {
		t.Fatalf("base URL %s", base)
	}
	pem, err := os.ReadFile(authority.File)
	if err != nil {
		t.Fatal(err)
	}
	clientWith := func(pairs ...certtest.Pair) *http.Client {
		config := &tls.Config{RootCAs: x509.NewCertPool()}
		config.RootCAs.AppendCertsFromPEM(pem)
		for _, p := range pairs {
			pair, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = append(config.Certificates, pair)
		}
		transport := &http.Transport{TLSClientConfig: config}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: 10 * time.Second}
	}
	known := clientWith(authority.Issue(t, dir, "machine", "machine", nil))
	if status, text := ask(t, known, base+"v1/pre-reboot", token, "default"); status != 200 {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := ask(t, known, base+"v1/pre-reboot", "another-0123456789", "default"); status != 401 {
		t.Errorf("with another token: %d", status)
	}
	for name, client := range map[string]*http.Client{"none": clientWith(), "a stranger's": clientWith(stranger.Issue(t, dir, "x", "x", nil))} {
		if response, err := client.Post(base+"v1/pre-reboot", "", nil); err == nil {
			response.Body.Close()
			t.Errorf("%s certificate: %s", name, response.Status)
		}
	}
	authority.Issue(t, dir, "server", "renewed", nil) // in the place of the other
	fresh := clientWith(authority.Issue(t, dir, "machine2", "machine2", nil))
	response, err := fresh.Get(base + "v1/pre-reboot")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := response.TLS.PeerCertificates[0].Subject.CommonName; got != "renewed" {
		t.Errorf("shows the certificate of %s", got)
	}
}
