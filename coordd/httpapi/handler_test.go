package httpapi

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/coordd/wal"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
)

const self = 0xab

type nowhere struct{}

func (nowhere) Send([]*raftpb.Message) {}

// startMember runs a member in a cluster of these voters, of which the
// others do not exist, and serves its handlers.
func startMember(t *testing.T, voters ...uint64) (url string) {
	t.Helper()
	return startAlarmed(t, nil, voters...)
}

// startAlarmed is startMember with alarms raised.
func startAlarmed(t *testing.T, alarms []*pb.AlarmMember, voters ...uint64) (url string) {
	t.Helper()
	store, err := kvcore.Open(backend.NewMemory(), kvcore.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Bootstrap(1, 1, &raftpb.ConfState{Voters: voters}, nil); err != nil {
		t.Fatal(err)
	}
	fs, dir, first := disk.OS(), filepath.Join(t.TempDir(), "wal"), wal.Position{Index: 1, Term: 1}
	log, err := wal.Create(fs, dir, nil, first, &raftpb.HardState{Term: &first.Term, Vote: new(uint64), Commit: &first.Index})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	log, recovered, err := wal.Open(fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	node, err := raftnode.Start(raftnode.Config{
		ID: self, Tick: 10 * time.Millisecond, HeartbeatTicks: 1, ElectionTicks: 10, RequestTimeout: time.Second,
		CatchUpBytes: 1 << 20, CatchUpEntries: 1000, Log: log, Recovered: recovered, StateMachine: store, Transport: nowhere{},
		CompactLimit:    1000,
		InstallSnapshot: func(*raftpb.SnapshotMetadata) error { panic("a snapshot for a lone member") },
		Fatal:           func(err error) { t.Errorf("the member failed: %v", err) },
		Logger:          slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(voters) == 1 {
		if err := node.ReadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(NewHandler(Config{
		Node: node, Store: store, Alarms: func() []*pb.AlarmMember { return alarms },
		ServerVersion: "3.7.3", ClusterVersion: "3.7.0", StorageVersion: "3.7.0",
		RequestTimeout: 100 * time.Millisecond, Gateway: http.NotFoundHandler(),
		Metrics: NewRegistry(node, store, "3.7.3"), Logger: slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(func() {
		server.Close()
		node.Stop()
		log.Close()
		store.Close()
	})
	return server.URL
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

func TestHandlers(t *testing.T) {
	healthy, leaderless := startMember(t, self), startMember(t, self, 2, 3)
	full := startAlarmed(t, []*pb.AlarmMember{{MemberID: self, Alarm: pb.AlarmType_NOSPACE}}, self)
	corrupt := startAlarmed(t, []*pb.AlarmMember{{MemberID: 2, Alarm: pb.AlarmType_CORRUPT}}, self)
	for _, c := range []struct {
		url    string
		status int
		body   string
	}{
		{healthy + "/health", 200, `{"health":"true","reason":""}`},
		{healthy + "/health?serializable=true", 200, `{"health":"true","reason":""}`},
		{healthy + "/version", 200, `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}`},
		{healthy + "/livez", 200, "ok\n"},
		{healthy + "/livez?verbose", 200, "[+]serializable_read ok\nok\n"},
		{healthy + "/readyz", 200, "ok\n"},
		{healthy + "/readyz?verbose&exclude=linearizable_read", 200, "[+]data_corruption ok\n[+]serializable_read ok\n[+]non_learner ok\nok\n"},
		{healthy + "/readyz?exclude=unheard_of", 200, "ok\n"},
		{healthy + "/readyz/linearizable_read", 200, "ok\n"},
		{healthy + "/readyz/unheard_of", 404, "404 page not found\n"},
		{healthy + "/debug/pprof/", 404, "404 page not found\n"},
		{full + "/health", 503, `{"health":"false","reason":"ALARM NOSPACE"}`},
		{full + "/health?serializable=true", 503, `{"health":"false","reason":"ALARM NOSPACE"}`},
		{full + "/health?exclude=NOSPACE", 200, `{"health":"true","reason":""}`},
		{full + "/readyz", 200, "ok\n"},
		{corrupt + "/health?exclude=NOSPACE", 503, `{"health":"false","reason":"ALARM CORRUPT"}`},
		{corrupt + "/readyz/data_corruption", 503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n"},
		{corrupt + "/livez", 200, "ok\n"},
		{leaderless + "/health", 503, `{"health":"false","reason":"RAFT NO LEADER"}`},
		{leaderless + "/health?serializable=true", 200, `{"health":"true","reason":""}`},
		{leaderless + "/livez", 200, "ok\n"},
		{leaderless + "/readyz?exclude=linearizable_read", 200, "ok\n"},
		{leaderless + "/readyz/linearizable_read", 503, "[-]linearizable_read failed: raftnode: no leader\n\n"},
	} {
		if status, body := get(t, c.url); status != c.status || body != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.url, status, body, c.status, c.body)
		}
	}
}

func TestOnlyGet(t *testing.T) {
	url := startMember(t, self)
	for _, path := range []string{"/health", "/livez", "/readyz", "/readyz/non_learner", "/version"} {
		for _, method := range []string{http.MethodHead, http.MethodPost} {
			request, err := http.NewRequestWithContext(t.Context(), method, url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != http.MethodGet {
				t.Errorf("%s %s: %s, allowed %q", method, path, response.Status, response.Header.Get("Allow"))
			}
		}
	}
}

func TestHealthIsCounted(t *testing.T) {
	url := startMember(t, self, 2, 3)
	get(t, url+"/health")
	get(t, url+"/health?serializable=true")
	get(t, url+"/readyz?exclude=serializable_read")
	_, body := get(t, url+"/metrics")
	for _, want := range []string{
		"etcd_server_health_success 1\n",
		"etcd_server_health_failures 1\n",
		`etcd_server_healthcheck{name="linearizable_read",type="readyz"} 0` + "\n",
		`etcd_server_healthchecks_total{name="non_learner",status="success",type="readyz"} 1` + "\n",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
}

func TestMetrics(t *testing.T) {
	_, body := get(t, startMember(t, self)+"/metrics")
	for _, want := range []string{
		"etcd_server_has_leader 1\n",
		"etcd_server_is_leader 1\n",
		"etcd_debugging_mvcc_current_revision 1\n",
		"etcd_server_id{server_id=\"ab\"} 1\n",
		"etcd_mvcc_db_total_size_in_bytes ",
		"etcd_server_proposals_applied_total ",
		"process_start_time_seconds ",
		"go_goroutines ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
}
