package e2e

import (
	"bufio"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/wiretest"
)

// notServed are the metrics of etcd that coordd does not have, and why. A name
// ending in a star stands for all that begin so.
var notServed = map[string]string{
	"etcd_grpc_proxy_*":                           "there is no gRPC proxy here; etcd's server shows zeros",
	"etcd_debugging_store_*":                      "of etcd's v2 store",
	"etcd_snap_*":                                 "there are no snapshot files of our own making: the backend is the snapshot",
	"etcd_debugging_snap_*":                       "as etcd_snap_*",
	"etcd_debugging_disk_backend_commit_*":        "phases within bbolt; etcd_disk_backend_commit_duration_seconds has the whole, and no reply waits for it",
	"etcd_debugging_server_watch_send_loop_*":     "watchers pull, there is no such loop",
	"etcd_debugging_mvcc_pending_events_total":    "nothing is queued for watchers",
	"etcd_debugging_mvcc_slow_watcher_total":      "nothing is kept for a slow watcher; it reads from the store when it can",
	"etcd_debugging_mvcc_events_total":            "grpc_server_msg_sent_total of Watch counts what is sent",
	"etcd_debugging_mvcc_db_compaction_*":         "compaction goes in steps between entries and stops nothing; etcd_debugging_mvcc_compact_revision says how far",
	"etcd_debugging_mvcc_index_compaction_*":      "as etcd_debugging_mvcc_db_compaction_*",
	"etcd_debugging_lease_renewed_total":          "grpc_server_msg_received_total of LeaseKeepAlive counts them",
	"etcd_debugging_lease_ttl_total":              "the times to live that clients ask for say nothing of the member",
	"etcd_debugging_server_lease_expired_total":   "etcd_debugging_lease_revoked_total counts expired leases too",
	"etcd_debugging_auth_revision":                "AuthStatus says it",
	"etcd_disk_backend_defrag_duration_seconds":   "grpc_server_handling_seconds of Defragment, with --metrics extensive",
	"etcd_disk_backend_snapshot_duration_seconds": "grpc_server_handling_seconds of Snapshot, with --metrics extensive",
	"etcd_disk_defrag_inflight":                   "defragmentation does not stop the member",
	"etcd_mvcc_hash_duration_seconds":             "grpc_server_handling_seconds of Hash, with --metrics extensive",
	"etcd_mvcc_hash_rev_duration_seconds":         "grpc_server_handling_seconds of HashKV, with --metrics extensive",
	"etcd_mvcc_db_open_read_transactions":         "readers share one transaction",
	"etcd_server_apply_duration_seconds":          "many requests are applied at once; coordd_apply_duration_seconds has the time of an entry",
	"etcd_server_request_duration_seconds":        "grpc_server_handling_seconds, with --metrics extensive",
	"etcd_server_feature_enabled":                 "there are no feature gates",
	"etcd_server_learner_promote_successes":       "grpc_server_handled_total of MemberPromote counts them",
	"os_fd_*":                                     "process_open_fds and process_max_fds",
	"grpc_server_handling_seconds":                "with --metrics extensive alone, as in etcd",
}

// lateMetrics are those of etcd that show only once something was measured.
var lateMetrics = []string{
	"etcd_server_healthcheck", "etcd_server_healthchecks_total", "etcd_network_peer_round_trip_time_seconds",
	"etcd_network_peer_sent_bytes_total", "etcd_network_peer_received_bytes_total",
}

// servedRows lists metrics by what they begin with; those of Go and of HTTP, which every
// program of this kind has, are left out.
func servedRows(all []string) []string {
	begins := []string{"etcd_cluster_", "etcd_debugging_", "etcd_disk_", "etcd_mvcc_", "etcd_network_", "etcd_server_", "etcd_", "grpc_", "coordd_"}
	rows := []string{"| begins with | goes on with |", "|---|---|"}
	rest := slices.Compact(slices.Sorted(slices.Values(all)))
	for _, begin := range begins {
		var ends []string
		rest = slices.DeleteFunc(rest, func(name string) bool {
			end, ok := strings.CutPrefix(name, begin)
			if ok {
				ends = append(ends, end)
			}
			return ok
		})
		if len(ends) > 0 {
			rows = append(rows, "| `"+begin+"` | "+strings.Join(ends, ", ")+" |")
		}
	}
	return rows
}

func absentRows() []string {
	rows := []string{"| metric of etcd's | why not, or what instead |", "|---|---|"}
	for _, name := range slices.Sorted(maps.Keys(notServed)) {
		rows = append(rows, "| `"+name+"` | "+notServed[name]+" |")
	}
	return rows
}

// names returns the metrics of a member, without those of histograms' parts.
func names(t *testing.T, url string) []string {
	t.Helper()
	response, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var all []string
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 4 && fields[1] == "TYPE" {
			all = append(all, fields[2])
		}
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return all
}

// absent finds why a metric of etcd is not served.
func absent(name string) (key string, ok bool) {
	for key := range notServed {
		if prefix, any := strings.CutSuffix(key, "*"); key == name || any && strings.HasPrefix(name, prefix) {
			return key, true
		}
	}
	return "", false
}

// TestMetricsAreEtcds: what a dashboard made for etcd asks for is there, but for
// what is known to be absent; and nothing is called etcd's that is not.
func TestMetricsAreEtcds(t *testing.T) {
	coordd, etcd := both(t)
	ours, theirs := names(t, coordd), names(t, etcd)
	used := map[string]bool{"grpc_server_handling_seconds": true}
	for _, name := range theirs {
		key, known := absent(name)
		served := slices.Contains(ours, name)
		used[key] = true
		switch {
		case !served && !known:
			t.Errorf("%s is not served, and nothing says why", name)
		case served && known:
			t.Errorf("%s is served though %s is said to be absent", name, key)
		}
	}
	wiretest.Check(t, "../docs/WIRE.md", "metrics", servedRows(slices.Concat(ours, lateMetrics)))
	wiretest.Check(t, "../docs/WIRE.md", "absent metrics", absentRows())
	for key := range notServed {
		if !used[key] {
			t.Errorf("etcd has no %s: strike it from the list", key)
		}
	}
	for _, name := range ours {
		if strings.HasPrefix(name, "etcd_") && !slices.Contains(theirs, name) && !slices.Contains(lateMetrics, name) {
			t.Errorf("%s is not etcd's", name)
		}
	}
}

// TestMetricsAreExplained: the operator's page says what each metric means.
func TestMetricsAreExplained(t *testing.T) {
	page, err := os.ReadFile("../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names(t, startCluster(t, 3).Endpoints()[0]) {
		common := slices.ContainsFunc([]string{"go_", "process_", "promhttp_"}, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if !common && !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/OPERATIONS.md does not say what %s is", name)
		}
	}
}

// TestMetricsOfACluster: what the alerts that people have for etcd ask for moves
// when something happens.
func TestMetricsOfACluster(t *testing.T) {
	c := startCluster(t, 3)
	ctx := within(t, time.Minute)
	client := newClient(t, c.Endpoints()...)
	for range 20 {
		if _, err := client.Put(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
	}
	leaders := 0
	for _, m := range c.Members {
		one := newClient(t, m.ClientURL)
		read := func() { // what it answers, the member has applied
			if _, err := one.Get(ctx, "k"); err != nil {
				t.Fatal(err)
			}
		}
		read()
		body := scrape(t, m.ClientURL)
		for _, want := range []string{
			"etcd_server_has_leader 1\n",
			"etcd_mvcc_put_total 20\n",
			"etcd_debugging_mvcc_keys_total 1\n",
			"etcd_server_proposals_pending 0\n",
			"etcd_server_quota_backend_bytes 2.147483648e+09\n",
			`etcd_network_peer_sent_bytes_total{To="`,
			`etcd_network_peer_received_bytes_total{From="`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("the metrics of %s lack %q", m.Name, want)
			}
		}
		for _, zero := range []string{
			"etcd_disk_wal_fsync_duration_seconds_count 0\n",
			"etcd_disk_wal_write_bytes_total 0\n",
			"etcd_server_leader_changes_seen_total 0\n",
			"etcd_server_proposals_committed_total 0\n",
			"coordd_apply_duration_seconds_count 0\n",
		} {
			if strings.Contains(body, zero) {
				t.Errorf("the metrics of %s have %q", m.Name, zero)
			}
		}
		if strings.Contains(body, "etcd_server_is_leader 1\n") {
			leaders++
			for strings.Count(body, "etcd_network_peer_round_trip_time_seconds_count{") < 2 {
				read() // goes with heartbeats to the others, one of whom must answer
				body = scrape(t, m.ClientURL)
			}
		}
	}
	if leaders != 1 {
		t.Errorf("%d members say they lead", leaders)
	}
}

func scrape(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
