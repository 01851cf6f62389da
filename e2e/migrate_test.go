package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	"github.com/coordd/coordd/recipes"
	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// TestMoveFromEtcdAndBack does what docs/OPERATIONS.md says under "Moving from
// etcd" and "Moving back": keys with their history, leases, users and roles come
// through both ways.
func TestMoveFromEtcdAndBack(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	dir := t.TempDir()
	source := runPlanned(t, planned(t, "e2e/peers/bin/etcd", 1))
	lease := furnish(t, ctx, source)
	before := inventory(t, ctx, source)
	backup := filepath.Join(dir, "etcd.db")
	mustRun(t, ctx, "bin/coordctl", "--endpoints", source.Endpoints()[0], "snapshot", "save", backup)
	source.Members[0].Stop()

	c := planned(t, "bin/coordd", 3)
	for _, m := range c.Members {
		mustRun(t, ctx, "bin/coordctl", restoreArgs(backup, c, m)...)
	}
	runPlanned(t, c)
	for _, m := range c.Members {
		if diff := cmp.Diff(before, inventoryAt(t, ctx, c, before.Revision, m.ClientURL)); diff != "" {
			t.Errorf("member %s (-etcd +coordd):\n%s", m.Name, diff)
		}
	}
	checkRaised(t, ctx, c, before.Revision)
	if _, err := newClient(t, c.Endpoints()...).Put(ctx, "key/on coordd", "new", clientv3.WithLease(lease)); err != nil {
		t.Fatal(err)
	}
	before = inventory(t, ctx, c)
	backup = filepath.Join(dir, "coordd.db")
	save := exec.CommandContext(ctx, program(t, "bin/coordctl"), "--endpoints", c.Endpoints()[0], "snapshot", "save", backup)
	if out, err := save.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.Kill()

	back := planned(t, "e2e/peers/bin/etcd", 1)
	mustRun(t, ctx, "e2e/peers/bin/etcdutl", restoreArgs(backup, back, back.Members[0])...)
	runPlanned(t, back)
	if diff := cmp.Diff(before, inventory(t, ctx, back)); diff != "" {
		t.Errorf("back (-coordd +etcd):\n%s", diff)
	}
	checkUsers(t, ctx, back)
}

// TestStoppedStoreRestoresIntoEtcd: a store that coordd itself has begun has all
// that etcd's tools look for, and is complete once its member was stopped.
func TestStoppedStoreRestoresIntoEtcd(t *testing.T) {
	ctx := within(t, time.Minute)
	c := startCluster(t, 1)
	if _, err := newClient(t, c.Endpoints()...).Put(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	before := inventory(t, ctx, c)
	c.Members[0].Stop()

	back := planned(t, "e2e/peers/bin/etcd", 1)
	store := filepath.Join(c.Members[0].DataDir, "member", "snap", "db")
	mustRun(t, ctx, "e2e/peers/bin/etcdutl", append(restoreArgs(store, back, back.Members[0]), "--skip-hash-check")...)
	runPlanned(t, back)
	if diff := cmp.Diff(before, inventory(t, ctx, back)); diff != "" {
		t.Errorf("(-coordd +etcd):\n%s", diff)
	}
}

// TestMirrorFromEtcd moves keys online: etcd's make-mirror copies to coordd what
// there is and what comes.
func TestMirrorFromEtcd(t *testing.T) {
	ctx := within(t, time.Minute)
	source := runPlanned(t, planned(t, "e2e/peers/bin/etcd", 1))
	target := startCluster(t, 1)
	from, to := newClient(t, source.Endpoints()...), newClient(t, target.Endpoints()...)
	if _, err := from.Put(ctx, "mirrored/1", "before"); err != nil {
		t.Fatal(err)
	}
	mirror := etcdctl(t, ctx, source.Endpoints()[0], "make-mirror", target.Endpoints()[0])
	if err := mirror.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mirror.Process.Kill()
		mirror.Wait()
	})
	awaitKeys(t, to, "mirrored/", 1)
	if _, err := from.Put(ctx, "mirrored/2", "while it runs"); err != nil {
		t.Fatal(err)
	}
	awaitKeys(t, to, "mirrored/", 2)
	if _, err := from.Delete(ctx, "mirrored/1"); err != nil {
		t.Fatal(err)
	}
	awaitKeys(t, to, "mirrored/", 1)
}

// planned is a cluster that does not run yet.
func planned(t *testing.T, server string, size int) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Plan(cluster.Spec{Program: program(t, server), Size: size, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// runPlanned starts a planned cluster and returns it when it serves.
func runPlanned(t *testing.T, c *cluster.Cluster) *cluster.Cluster {
	t.Helper()
	for _, m := range c.Members {
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Kill)
	}
	for _, m := range c.Members {
		if err := m.AwaitReady(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// restoreArgs is the documented command for one member, for coordctl and etcdutl alike.
func restoreArgs(backup string, c *cluster.Cluster, m *cluster.Member) []string {
	var initial []string
	for _, m := range c.Members {
		initial = append(initial, m.Name+"="+m.PeerURL)
	}
	return []string{
		"snapshot", "restore", backup, "--data-dir", m.DataDir, "--name", m.Name,
		"--initial-advertise-peer-urls", m.PeerURL, "--initial-cluster", strings.Join(initial, ","),
		"--initial-cluster-token", "e2e",
	}
}

func mustRun(t *testing.T, ctx context.Context, name string, args ...string) (stdout string) {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, program(t, name), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// furnish writes keys with a history, leases, users and roles; the lease it
// returns has hours to live.
func furnish(t *testing.T, ctx context.Context, c *cluster.Cluster) clientv3.LeaseID {
	t.Helper()
	client := newClient(t, c.Endpoints()...)
	granted, err := client.Grant(ctx, 7200)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		key := "key/" + string(rune('a'+i%10))
		if _, err := client.Put(ctx, key, strings.Repeat("v", i)); err != nil {
			t.Fatal(err)
		}
	}
	steps := []func() error{
		func() error { _, err := client.Put(ctx, "leased", "x", clientv3.WithLease(granted.ID)); return err },
		func() error { _, err := client.Delete(ctx, "key/a"); return err },
		func() error { _, err := client.Compact(ctx, 50); return err },
		func() error { _, err := client.UserAdd(ctx, "root", "root's"); return err },
		func() error { _, err := client.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := client.UserAdd(ctx, "alice", "alice's"); return err },
		func() error { _, err := client.RoleAdd(ctx, "reader"); return err },
		func() error {
			_, err := client.RoleGrantPermission(ctx, "reader", "key/", "key0", clientv3.PermissionType(clientv3.PermRead))
			return err
		},
		func() error { _, err := client.UserGrantRole(ctx, "alice", "reader"); return err },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	return granted.ID
}

// held is what a cluster holds, as far as clients see it.
type held struct {
	Revision int64
	Hash     uint32 // of the whole history that lives
	Keys     []string
	Old      []string           // keys at an earlier revision
	Leases   map[int64][]string // keys by lease
}

// checkRaised: the first thing that a restored cluster writes is the epoch.
func checkRaised(t *testing.T, ctx context.Context, c *cluster.Cluster, restored int64) {
	t.Helper()
	client := newClient(t, c.Endpoints()...)
	epoch, revision, err := recipes.ReadEpoch(ctx, client)
	if err != nil || epoch == 0 || revision != restored+1 {
		t.Errorf("epoch %d of revision %d after a restore of revision %d: %v", epoch, revision, restored, err)
	}
}

// inventory asks one endpoint, by default any.
func inventory(t *testing.T, ctx context.Context, c *cluster.Cluster, endpoint ...string) held {
	t.Helper()
	return inventoryAt(t, ctx, c, 0, endpoint...)
}

// inventoryAt is what was held at a revision; 0 is the present one.
func inventoryAt(t *testing.T, ctx context.Context, c *cluster.Cluster, revision int64, endpoint ...string) held {
	t.Helper()
	if len(endpoint) == 0 {
		endpoint = c.Endpoints()[:1]
	}
	client := newClient(t, endpoint...)
	list := func(opts ...clientv3.OpOption) []string {
		got, err := client.Get(ctx, "", append(opts, clientv3.WithPrefix())...)
		if err != nil {
			t.Fatal(err)
		}
		keys := make([]string, len(got.Kvs))
		for i, kv := range got.Kvs {
			keys[i] = kv.String()
		}
		return keys
	}
	h := held{Keys: list(clientv3.WithRev(revision)), Leases: map[int64][]string{}}
	hash, err := client.HashKV(ctx, endpoint[0], revision)
	if err != nil {
		t.Fatal(err)
	}
	if h.Revision, h.Hash = revision, hash.Hash; revision == 0 {
		h.Revision = hash.Header.Revision
	}
	if h.Revision > 60 {
		h.Old = list(clientv3.WithRev(60))
	}
	leases, err := client.Leases(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases.Leases {
		ttl, err := client.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range ttl.Keys {
			h.Leases[int64(l.ID)] = append(h.Leases[int64(l.ID)], string(key))
		}
		slices.Sort(h.Leases[int64(l.ID)])
		h.Leases[-int64(l.ID)] = []string{(time.Duration(ttl.GrantedTTL) * time.Second).String()}
	}
	return h
}

// checkUsers turns authentication on, and logs in with what was set before the move.
func checkUsers(t *testing.T, ctx context.Context, c *cluster.Cluster) {
	t.Helper()
	if _, err := newClient(t, c.Endpoints()...).AuthEnable(ctx); err != nil {
		t.Fatal(err)
	}
	alice, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Username: "alice", Password: "alice's", DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	if got, err := alice.Get(ctx, "key/b"); err != nil || got.Count != 1 {
		t.Errorf("alice reads %v, %v", got, err)
	}
	if _, err := alice.Put(ctx, "key/b", "x"); err == nil || err.Error() != rpctypes.ErrPermissionDenied.Error() {
		t.Errorf("alice writes: %v", err)
	}
}
