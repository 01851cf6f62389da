package restore_test

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd"
	"github.com/coordd/coordd/coordd/datadir"
	"github.com/coordd/coordd/coordd/restore"
	"github.com/coordd/coordd/recipes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// plan returns the settings of a new cluster's members, a to c at most, and for
// each how to restore backup for it.
func plan(t *testing.T, backup string, size int) (settings []coordd.Config, restores []restore.Config) {
	t.Helper()
	var initial []string
	for i := range size {
		cfg := coordd.Defaults()
		cfg.Name = string(rune('a' + i))
		cfg.DataDir = filepath.Join(t.TempDir(), "data")
		cfg.InitialClusterToken = "restored"
		cfg.ListenClientURLs = []string{"http://127.0.0.1:0"}
		cfg.AdvertiseClientURLs = cfg.ListenClientURLs
		cfg.ListenPeerURLs = []string{freeURL(t)}
		cfg.InitialAdvertisePeerURLs = cfg.ListenPeerURLs
		initial = append(initial, cfg.Name+"="+cfg.ListenPeerURLs[0])
		settings = append(settings, cfg)
	}
	for i := range settings {
		cfg := &settings[i]
		cfg.InitialCluster = strings.Join(initial, ",")
		restores = append(restores, restore.Config{
			Name: cfg.Name, DataDir: cfg.DataDir, InitialAdvertisePeerURLs: cfg.InitialAdvertisePeerURLs,
			InitialCluster: cfg.InitialCluster, InitialClusterToken: cfg.InitialClusterToken, Snapshot: backup,
		})
	}
	return settings, restores
}

func freeURL(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// start runs members until the test ends and returns a client of each.
func start(t *testing.T, settings []coordd.Config) (clients []*clientv3.Client) {
	t.Helper()
	var servers []*coordd.Server
	for _, cfg := range settings {
		s, err := coordd.Start(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
		servers = append(servers, s)
	}
	for _, s := range servers {
		clients = append(clients, clientOf(t, s))
	}
	return clients
}

// clientOf returns a client of a member once that is ready.
func clientOf(t *testing.T, s *coordd.Server) *clientv3.Client {
	t.Helper()
	select {
	case <-s.Ready():
	case <-s.Failed():
		t.Fatal(s.Err())
	case <-time.After(time.Minute):
		t.Fatal("not ready within a minute")
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: s.ClientURLs(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestEachBackupStarts: also the one whose users must log in and whose alarm stands.
func TestEachBackupStarts(t *testing.T) {
	for _, name := range backups {
		t.Run(name, func(t *testing.T) {
			settings, restores := plan(t, unpack(t, name), 1)
			mustRestore(t, restores[0])
			start(t, settings)
		})
	}
}

// epochOf reads the epoch that a member sees.
func epochOf(t *testing.T, c *clientv3.Client) uint64 {
	t.Helper()
	epoch, _, err := recipes.ReadEpoch(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return epoch
}

// TestThreeMembersFormCluster: restored from one backup, they agree and go on. One
// revision is the new epoch's.
func TestThreeMembersFormCluster(t *testing.T) {
	settings, restores := plan(t, unpack(t, "etcd-3.6.16"), 3)
	for _, cfg := range restores {
		mustRestore(t, cfg)
	}
	clients := start(t, settings)
	got, err := clients[0].Get(t.Context(), "key/4")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "again" {
		t.Fatalf("got %v, %v", got, err)
	}
	if _, err := clients[0].Put(t.Context(), "key/4", "once more"); err != nil {
		t.Fatal(err)
	}
	hashes := map[string]int{}
	for _, c := range clients {
		got, err := c.Get(t.Context(), "key/4") // linearizable: this member has applied the put
		if err != nil || string(got.Kvs[0].Value) != "once more" {
			t.Fatalf("got %v, %v", got, err)
		}
		hash, err := c.HashKV(t.Context(), c.Endpoints()[0], 0)
		if err != nil {
			t.Fatal(err)
		}
		hashes[fmt.Sprintf("%d at revision %d", hash.Hash, hash.HashRevision)]++
	}
	if len(hashes) != 1 || !strings.HasSuffix(fmt.Sprint(hashes), fmt.Sprintf("%d:3]", newest+2)) {
		t.Errorf("hashes %v", hashes)
	}
	for _, c := range clients {
		if epoch := epochOf(t, c); epoch == 0 || epoch != epochOf(t, clients[0]) {
			t.Errorf("epochs %d and %d", epoch, epochOf(t, clients[0]))
		}
	}
	leases, err := clients[1].Leases(t.Context())
	if err != nil || len(leases.Leases) != 4 {
		t.Errorf("leases %v, %v", leases, err)
	}
}

// TestHalfARestoreDoesNotStart: neither one that was interrupted, nor a store
// whose log is elsewhere.
func TestHalfARestoreDoesNotStart(t *testing.T) {
	backup := unpack(t, "etcd-3.7.3")
	settings, _ := plan(t, backup, 1)
	if err := os.MkdirAll(datadir.Layout{Data: settings[0].DataDir}.Restoring(), 0o700); err != nil {
		t.Fatal(err)
	}
	wantStartError(t, settings[0], "a restore into "+settings[0].DataDir+" was interrupted")

	settings, restores := plan(t, backup, 1)
	restores[0].WALDir = filepath.Join(t.TempDir(), "log")
	layout := mustRestore(t, restores[0])
	wantStartError(t, settings[0], "there is a store with data")

	if err := os.Remove(layout.Store()); err != nil {
		t.Fatal(err)
	}
	settings[0].WALDir = restores[0].WALDir
	wantStartError(t, settings[0], "is missing or old")
}

func wantStartError(t *testing.T, cfg coordd.Config, says string) {
	t.Helper()
	s, err := coordd.Start(cfg, slog.New(slog.DiscardHandler))
	if err == nil {
		s.Stop()
	}
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("start: %v; want an error that says %q", err, says)
	}
}
