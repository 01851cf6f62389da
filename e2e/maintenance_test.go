package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// tool runs one of etcd's own tools and returns what it printed.
func tool(t testing.TB, name string, args ...string) (printed string, err error) {
	t.Helper()
	ctx := within(t, time.Minute)
	out, err := exec.CommandContext(ctx, program(t, "e2e/peers/bin/"+name), args...).CombinedOutput()
	return string(out), err
}

func mustTool(t testing.TB, name string, args ...string) (printed string) {
	t.Helper()
	printed, err := tool(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, printed)
	}
	return printed
}

// TestQuota: a store that is full refuses writes, lets go what is deleted and
// compacted, and is defragmented and writable again, all by etcdctl.
func TestQuota(t *testing.T) {
	c := startCluster(t, 3, "--quota-backend-bytes", "16777216")
	client := newClient(t, c.Endpoints()...)
	value := strings.Repeat("v", 1<<20)
	var err error
	puts := 0
	for ; err == nil && puts < 100; puts++ {
		_, err = client.Put(within(t, 10*time.Second), "big", value)
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) || puts < 8 || puts > 24 {
		t.Fatalf("put %d of 1 MiB into 16 MiB: %v", puts, err)
	}
	etcdctl := func(args ...string) string {
		t.Helper()
		return mustTool(t, "etcdctl", append([]string{"--endpoints", strings.Join(c.Endpoints(), ",")}, args...)...)
	}
	if list := etcdctl("alarm", "list"); !strings.Contains(list, "alarm:NOSPACE") {
		t.Errorf("alarm list: %q", list)
	}
	if out, err := tool(t, "etcdctl", "--endpoints", c.Members[0].ClientURL, "endpoint", "health"); err == nil {
		t.Errorf("a member with an alarm is healthy: %s", out)
	}
	if _, err := client.Grant(within(t, 10*time.Second), 60); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a lease in a full store: %v", err)
	}
	etcdctl("del", "nothing")
	got, err := client.Get(within(t, 10*time.Second), "big", clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	etcdctl("compact", fmt.Sprint(got.Header.Revision), "--physical")
	for _, m := range c.Members {
		own := []string{"--endpoints", m.ClientURL}
		mustTool(t, "etcdctl", append(own, "get", "x")...) // it knows of the compaction then
		mustTool(t, "etcdctl", append(own, "defrag")...)
	}
	etcdctl("alarm", "disarm")
	if list := etcdctl("alarm", "list"); list != "" {
		t.Errorf("after disarm: %q", list)
	}
	for _, m := range c.Members {
		status, err := client.Status(within(t, 10*time.Second), m.ClientURL)
		if err != nil {
			t.Fatal(err)
		}
		if status.DbSize > 4<<20 || status.DbSizeQuota != 16<<20 || len(status.Errors) != 0 {
			t.Errorf("%s: %d bytes of %d, %v", m.Name, status.DbSize, status.DbSizeQuota, status.Errors)
		}
	}
	if _, err := client.Put(within(t, 10*time.Second), "big", value); err != nil {
		t.Errorf("a put after that: %v", err)
	}
}

// TestSnapshotMovesToEtcd: what etcdctl saves holds what was acknowledged before,
// and a real etcd that is restored from it serves that.
func TestSnapshotMovesToEtcd(t *testing.T) {
	c := startCluster(t, 3)
	client := newClient(t, c.Endpoints()...)
	ctx := within(t, 2*time.Minute)
	lease, err := client.Grant(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(ctx, "leased", "x", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	fill(t, client, 200)
	put, err := client.Put(ctx, "last", "acknowledged")
	if err != nil {
		t.Fatal(err)
	}
	_, followers := splitLeader(t, c)
	dir := t.TempDir()
	file := filepath.Join(dir, "snapshot.db")
	mustTool(t, "etcdctl", "--endpoints", followers[0].ClientURL, "snapshot", "save", file)
	status := mustTool(t, "etcdutl", "snapshot", "status", file, "-w", "fields")
	for _, want := range []string{fmt.Sprintf("\"Revision\" : %d\n", put.Header.Revision), "\"Keys\" : 202\n", "\"Version\" : 3.7.0\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("the snapshot's status lacks %q: %s", want, status)
		}
	}
	hash, err := awaitHash(ctx, client, followers[0].ClientURL, put.Header.Revision)
	if err != nil {
		t.Fatal(err)
	}

	ports := freePort(t, 2)
	clientURL, peerURL := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	data := filepath.Join(dir, "restored")
	mustTool(t, "etcdutl", "snapshot", "restore", file, "--data-dir", data,
		"--name", "e", "--initial-cluster", "e="+peerURL, "--initial-advertise-peer-urls", peerURL)
	var log bytes.Buffer
	etcd := exec.Command(program(t, "e2e/peers/bin/etcd"), "--name", "e", "--data-dir", data,
		"--listen-client-urls", clientURL, "--advertise-client-urls", clientURL,
		"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "e="+peerURL)
	etcd.Stdout, etcd.Stderr = &log, &log
	if err := etcd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		etcd.Process.Kill()
		etcd.Wait()
		if t.Failed() {
			t.Logf("etcd: %s", tail(log.Bytes(), 4096))
		}
	}()
	moved := newClient(t, clientURL)
	got, err := moved.Get(ctx, "last")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "acknowledged" || got.Kvs[0].ModRevision != put.Header.Revision {
		t.Fatalf("etcd has %v, %v", got, err)
	}
	if left, err := moved.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()); err != nil || left.GrantedTTL != 1000 || len(left.Keys) != 1 {
		t.Errorf("the lease in etcd: %+v, %v", left, err)
	}
	if there, err := awaitHash(ctx, moved, clientURL, put.Header.Revision); err != nil || there != hash {
		t.Errorf("etcd's hash is %08x, ours %08x, %v", there, hash, err)
	}
}

// freePort names ports of loopback that nothing listens on at this moment.
func freePort(t testing.TB, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports
}

// TestDamagedMemberStopsServing: a value that changed on one member's disk is
// found while the cluster runs. That member serves no data any more, the others
// go on.
func TestDamagedMemberStopsServing(t *testing.T) {
	c := startCluster(t, 3, "--corrupt-check-time", "1s", "--snapshot-catchup-entries", "10")
	client := newClient(t, c.Endpoints()...)
	ctx := within(t, 2*time.Minute)
	const value = "the-value-that-is-to-be-damaged"
	if _, err := client.Put(ctx, "damaged", value); err != nil {
		t.Fatal(err)
	}
	fill(t, client, 100)
	checkHashes(t, c)
	_, followers := splitLeader(t, c)
	bad := followers[0]
	mustTool(t, "etcdctl", "--endpoints", bad.ClientURL, "snapshot", "save", filepath.Join(t.TempDir(), "flushed")) // the store has it all
	bad.Stop()
	damage(t, filepath.Join(bad.DataDir, "member", "snap", "db"), value)
	if err := bad.Start(); err != nil {
		t.Fatal(err)
	}
	if err := bad.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	own := newClient(t, bad.ClientURL)
	watch := own.Watch(ctx, "watched")
	await(t, "the damaged member still answers", func() bool {
		_, err := own.Get(ctx, "damaged", clientv3.WithSerializable())
		return errors.Is(err, rpctypes.ErrCorrupt)
	})
	if _, err := own.Put(ctx, "a", "b"); !errors.Is(err, rpctypes.ErrCorrupt) {
		t.Errorf("a put at the damaged member: %v", err)
	}
	if end := <-watch; end.Err() == nil {
		t.Errorf("a watch at the damaged member goes on with %v", end)
	}
	status, err := own.Status(ctx, bad.ClientURL)
	if want := fmt.Sprintf("memberID:%d alarm:CORRUPT", status.Header.MemberId); err != nil || !slices.Contains(status.Errors, want) {
		t.Errorf("its status tells of %v, %v, want %s", status.Errors, err, want)
	}
	for _, m := range c.Members {
		if m == bad {
			continue
		}
		sound := newClient(t, m.ClientURL)
		if _, err := sound.Put(ctx, "a", m.Name); err != nil {
			t.Errorf("a put at %s: %v", m.Name, err)
		}
		if got, err := sound.Get(ctx, "damaged"); err != nil || string(got.Kvs[0].Value) != value {
			t.Errorf("a get at %s: %v, %v", m.Name, got, err)
		}
	}
}

// TestDamagedLeaderGivesWay: a leader whose store is damaged does not stay one: it
// would send that to members that lag.
func TestDamagedLeaderGivesWay(t *testing.T) {
	c := startCluster(t, 3, "--corrupt-check-time", "1s", "--snapshot-catchup-entries", "10")
	client := newClient(t, c.Endpoints()...)
	ctx := within(t, 2*time.Minute)
	const value = "the-value-that-is-to-be-damaged"
	if _, err := client.Put(ctx, "damaged", value); err != nil {
		t.Fatal(err)
	}
	leader, followers := splitLeader(t, c)
	mustTool(t, "etcdctl", "--endpoints", leader.ClientURL, "snapshot", "save", filepath.Join(t.TempDir(), "flushed"))
	leader.Stop()
	damage(t, filepath.Join(leader.DataDir, "member", "snap", "db"), value)
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	if err := leader.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	status, err := client.Status(ctx, leader.ClientURL)
	if err != nil {
		t.Fatal(err)
	}
	damaged := status.Header.MemberId
	await(t, "the damaged member is not found out", func() bool {
		list, err := client.AlarmList(ctx)
		return err == nil && len(list.Alarms) == 1 && list.Alarms[0].MemberID == damaged
	})
	// As an election may at any time, this makes it the leader.
	now, _ := splitLeader(t, c)
	lead := newClient(t, now.ClientURL)
	if _, err := lead.MoveLeader(ctx, damaged); err != nil {
		t.Logf("moving leadership to the damaged member: %v", err)
	}
	await(t, "the damaged member leads", func() bool {
		status, err := client.Status(ctx, followers[0].ClientURL)
		return err == nil && status.Leader != 0 && status.Leader != damaged
	})
}

// damage changes one byte of a value in a file, wherever it stands.
func damage(t testing.TB, file, value string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for at := bytes.Index(data, []byte(value)); at >= 0; at = bytes.Index(data, []byte(value)) {
		data[at+4] ^= 1
		found = true
	}
	if !found {
		t.Fatalf("%s does not hold %q", file, value)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// await waits until something holds.
func await(t testing.TB, not string, holds func() bool) {
	t.Helper()
	ctx := within(t, time.Minute)
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatal(not)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestAutoCompaction: history older than the retention goes by itself.
func TestAutoCompaction(t *testing.T) {
	c := startCluster(t, 3, "--auto-compaction-retention", "2s")
	client := newClient(t, c.Endpoints()...)
	ctx := within(t, time.Minute)
	first, err := client.Put(ctx, "a", "0")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "old history is still there", func() bool {
		if _, err := client.Put(ctx, "a", "x"); err != nil {
			t.Fatal(err)
		}
		_, err := client.Get(ctx, "a", clientv3.WithRev(first.Header.Revision))
		return errors.Is(err, rpctypes.ErrCompacted)
	})
}

// TestKillWhileDefragmenting: a member that is killed in the middle has lost
// nothing, and leaves nothing lying about.
func TestKillWhileDefragmenting(t *testing.T) {
	c := startCluster(t, 1)
	m := c.Members[0]
	client := newClient(t, m.ClientURL)
	fill(t, client, 4000)
	for round := range 4 {
		defragmenting := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, err := client.Defragment(ctx, m.ClientURL)
			defragmenting <- err
		}()
		key := fmt.Sprintf("round/%d", round)
		if _, err := client.Put(within(t, 10*time.Second), key, "acknowledged"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(round*10) * time.Millisecond)
		m.Kill()
		cancel() // else the client may try until the member is back
		<-defragmenting
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		if err := m.AwaitReady(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		got, err := client.Get(within(t, 10*time.Second), "", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || got.Count != int64(4001+round) {
			t.Errorf("round %d: %d keys, %v", round, got.Count, err)
		}
		if left, _ := filepath.Glob(filepath.Join(m.DataDir, "member", "snap", "*.defrag")); len(left) != 0 {
			t.Errorf("round %d: left over %v", round, left)
		}
	}
}

// fillRandom writes n values that do not repeat themselves.
func fillRandom(b testing.TB, client *clientv3.Client, n, size int) {
	b.Helper()
	var g errgroup.Group
	g.SetLimit(8)
	for i := range n {
		g.Go(func() error {
			value := make([]byte, size)
			rand.Read(value)
			_, err := client.Put(b.Context(), fmt.Sprintf("fill/%d", i), string(value))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}
