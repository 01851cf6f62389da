package e2e

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/tlsconfig/certtest"
	"github.com/coordd/coordd/e2e/cluster"
	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/proto/v3lockpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// certSide is a member that knows its clients by their certificates.
type certSide struct {
	ca   *certtest.Authority
	dir  string
	url  string
	held map[string]certtest.Pair // by common name
}

func newCertSide(t *testing.T, path string) *certSide {
	t.Helper()
	dir := t.TempDir()
	s := &certSide{ca: certtest.NewAuthority(t, dir, "ca"), dir: dir, held: map[string]certtest.Pair{}}
	// etcd has its gateway on the same port only where its own certificate names nobody.
	server := s.ca.Issue(t, dir, "server", "", nil)
	c, err := cluster.Start(within(t, time.Minute), cluster.Spec{
		Program: program(t, path), Size: 1, Dir: dir, ClientScheme: "https",
		Flags: []string{"--cert-file", server.CertFile, "--key-file", server.KeyFile, "--trusted-ca-file", s.ca.File, "--client-cert-auth"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	s.url = c.Members[0].ClientURL
	return s
}

// pair is the certificate of a common name.
func (s *certSide) pair(t *testing.T, commonName string) certtest.Pair {
	t.Helper()
	if _, ok := s.held[commonName]; !ok {
		s.held[commonName] = s.ca.Issue(t, s.dir, "client-"+commonName, commonName, nil)
	}
	return s.held[commonName]
}

var times = regexp.MustCompile(`[0-9.]+[mµ]?s\b`)

// ctl runs etcdctl with a certificate of that common name.
func (s *certSide) ctl(t *testing.T, as string, args ...string) string {
	t.Helper()
	p := s.pair(t, as)
	out, err := ctl(t, s.url, append([]string{"--cacert", s.ca.File, "--cert", p.CertFile, "--key", p.KeyFile}, args...)...)
	var answer strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "{") { // no line of a log, with its time
			answer.WriteString(times.ReplaceAllString(strings.ReplaceAll(line, s.url, "https://member"), "some time"))
		}
	}
	return fmt.Sprintf("%t %s", err == nil, &answer)
}

// certSteps are commands of etcdctl, the same for both sides, and whether they succeed.
var certSteps = []struct {
	as   string
	args string
	ok   bool
}{
	{"anyone", "put before users", true},
	{"anyone", "user add root:r", true},
	{"anyone", "user grant-role root root", true},
	{"anyone", "user add alice --no-password", true},
	{"anyone", "role add app", true},
	{"anyone", "role grant-permission app readwrite app/ app0", true},
	{"anyone", "user grant-role alice app", true},
	{"anyone", "auth enable", true},
	{"alice", "put app/a 1", true},
	{"alice", "get app/a", true},
	{"alice", "get before", false},
	{"alice", "put before 2", false},
	{"alice", "get --prefix app", false},
	{"alice", "del --prefix app/", true},
	{"alice", "user get alice", true},
	{"alice", "user list", false},
	{"alice", "role get app", true},
	{"alice", "member remove 1", false},
	{"alice", "snapshot save /dev/null", false},
	{"alice", "move-leader 1", false},
	{"alice", "compact 2", false},
	{"alice", "defrag", false},
	{"alice", "alarm list", true},
	{"alice", "auth disable", false},
	{"alice", "--user root:r get before", true},
	{"alice", "--user root:wrong get before", false},
	{"mallory", "get app/a", false},
	{"mallory", "put app/a 1", false},
	{"root", "get before", true}, // though root has a password
	{"root", "user revoke-role alice app", true},
	{"alice", "get app/a", false},
	{"root", "user grant-role alice app", true},
	{"root", "user delete alice", true},
	{"alice", "get app/a", false},
	{"root", "auth disable", true},
	{"mallory", "get before", true},
}

// TestCertificateIsUser: with --client-cert-auth the common name of a client's
// certificate is its user, as in etcd.
func TestCertificateIsUser(t *testing.T) {
	ours, theirs := newCertSide(t, "bin/coordd"), newCertSide(t, "e2e/peers/bin/etcd")
	for _, step := range certSteps {
		got, want := ours.ctl(t, step.as, strings.Fields(step.args)...), theirs.ctl(t, step.as, strings.Fields(step.args)...)
		if got != want || strings.HasPrefix(got, "true") != step.ok {
			t.Errorf("%s: %s:\n  coordd: %s\n  etcd:   %s", step.as, step.args, got, want)
		}
	}
}

// asAlice turns on users, of whom alice may use what is below app/.
func (s *certSide) asAlice(t *testing.T) *clientv3.Client {
	t.Helper()
	for _, step := range certSteps[:8] {
		if out := s.ctl(t, step.as, strings.Fields(step.args)...); !strings.HasPrefix(out, "true") {
			t.Fatalf("%s: %s", step.args, out)
		}
	}
	return newTLSClient(t, clientTLS(t, s.ca.File, s.pair(t, "alice")), s.url)
}

// TestGatewayIsNobody: what comes over HTTP is who its token says, whatever the
// certificate, and no header makes it somebody. etcd refuses clients there whose
// certificate has a common name, also with a token.
func TestGatewayIsNobody(t *testing.T) {
	s := newCertSide(t, "bin/coordd")
	headers := map[string]http.Header{
		"":        {},
		"forged":  {"Grpc-Metadata-Token": {"x"}},
		"silent":  {"Accept": nil, "Grpcgateway-Accept": {""}, "Grpc-Metadata-Grpcgateway-Accept": {""}},
		"named":   {"Grpc-Metadata-User": {"root"}, "Grpc-Metadata-Username": {"root"}, "X-Forwarded-User": {"root"}},
		"basic":   {"Authorization": {"Basic cm9vdDpy"}},
		"pseudo":  {"Grpc-Metadata-:authority": {"x"}},
		"binary":  {"Grpc-Metadata-Token-Bin": {"!"}},
		"control": {"Grpc-Metadata-Token": {"x\ty"}},
	}
	s.asAlice(t)
	for name, header := range headers {
		for _, as := range []string{"alice", "root"} {
			if got := s.post(t, as, header); strings.HasPrefix(got, "200") || strings.Contains(got, "users") {
				t.Errorf("%s with header %q: %s", as, name, got)
			}
		}
	}
	login, err := newTLSClient(t, clientTLS(t, s.ca.File, s.pair(t, "alice")), s.url).Authenticate(within(t, time.Minute), "root", "r")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.post(t, "alice", http.Header{"Authorization": {login.Token}}); !strings.HasPrefix(got, "200") {
		t.Errorf("with a token of root's: %s", got)
	}
}

// post asks for a key over HTTP with a certificate of that common name.
func (s *certSide) post(t *testing.T, as string, header http.Header) string {
	t.Helper()
	r, err := http.NewRequestWithContext(within(t, time.Minute), http.MethodPost, s.url+"/v3/kv/range", strings.NewReader(`{"key":"YmVmb3Jl"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Clone()
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(t, s.ca.File, s.pair(t, as))}}
	defer web.CloseIdleConnections()
	response, err := web.Do(r)
	if err != nil {
		return "no answer" // net/http sends no such header
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", response.StatusCode, body)
}

// TestLocksAndElectionsHeedPermissions: the services do with keys only what
// their caller may, and leave nothing behind where they are refused.
func TestLocksAndElectionsHeedPermissions(t *testing.T) {
	ours, theirs := newCertSide(t, "bin/coordd"), newCertSide(t, "e2e/peers/bin/etcd")
	ours.locksHeedPermissions(t, "permission denied")
	theirs.locksHeedPermissions(t, "permission denied", "EOF") // etcd's Observe ends without a word
}

func (s *certSide) locksHeedPermissions(t *testing.T, refusals ...string) {
	t.Helper()
	alice, ctx := s.asAlice(t), within(t, time.Minute)
	conn := alice.ActiveConnection()
	locks, elections := v3lockpb.NewLockClient(conn), v3electionpb.NewElectionClient(conn)
	held, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("app/lock")})
	if err != nil {
		t.Fatalf("a lock that alice may have: %v", err)
	}
	if _, err := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: held.Key}); err != nil {
		t.Errorf("unlock: %v", err)
	}
	before := []byte("before")
	leader := &v3electionpb.LeaderKey{Name: before, Key: before, Rev: 2}
	forged := metadata.AppendToOutgoingContext(ctx, "grpcgateway-accept", "*/*")
	for name, call := range map[string]func() error{
		"lock":   func() error { _, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: before}); return err },
		"unlock": func() error { _, err := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: before}); return err },
		"campaign": func() error {
			_, err := elections.Campaign(ctx, &v3electionpb.CampaignRequest{Name: before})
			return err
		},
		"proclaim": func() error {
			_, err := elections.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: leader})
			return err
		},
		"leader": func() error { _, err := elections.Leader(ctx, &v3electionpb.LeaderRequest{Name: before}); return err },
		"resign": func() error { _, err := elections.Resign(ctx, &v3electionpb.ResignRequest{Leader: leader}); return err },
		"observe": func() error {
			stream, err := elections.Observe(ctx, &v3electionpb.LeaderRequest{Name: before})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
		"range as a gateway": func() error {
			_, err := pb.NewKVClient(conn).Range(forged, &pb.RangeRequest{Key: []byte("app/a")})
			return err
		},
	} {
		text := status.Convert(call()).Message()
		if !slices.ContainsFunc(append(refusals, "user name is empty"), func(r string) bool { return strings.Contains(text, r) }) {
			t.Errorf("%s: %s at a key that alice has no permission for: %q", s.url, name, text)
		}
	}
	if out := s.ctl(t, "root", "get", "before", "--print-value-only"); out != "true users\n" {
		t.Errorf("the key has changed: %s", out)
	}
}
