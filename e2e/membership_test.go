package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// writer puts one key again and again and remembers what was acknowledged.
type writer struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu           sync.Mutex
	acknowledged int
	failed       int
	last         time.Time
	gap          time.Duration // the longest between two that were acknowledged
}

func startWriter(t *testing.T, client *clientv3.Client, key string) *writer {
	ctx, cancel := context.WithCancel(t.Context())
	w := &writer{stop: cancel}
	w.running.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			call, cancel := context.WithTimeout(ctx, 10*time.Second)
			_, err := client.Put(call, key, fmt.Sprint(n))
			cancel()
			if ctx.Err() == nil {
				w.note(err == nil)
			}
		}
	})
	t.Cleanup(func() { w.end() })
	return w
}

func (w *writer) note(ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !ok {
		w.failed++
		return
	}
	now := time.Now()
	if w.acknowledged++; w.acknowledged > 1 {
		w.gap = max(w.gap, now.Sub(w.last))
	}
	w.last = now
}

// await waits until more writes have been acknowledged.
func (w *writer) await(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.acknowledged
	}
	want := count() + more
	for ctx := within(t, time.Minute); count() < want; time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatal("writes do not go on")
		}
	}
}

func (w *writer) end() {
	w.stop()
	w.running.Wait()
}

// changed retries a change of members while the cluster is not healthy for long
// enough, as etcd counts it: five seconds.
func changed[R any](t *testing.T, change func(context.Context) (R, error)) R {
	t.Helper()
	ctx := within(t, time.Minute)
	for {
		r, err := change(ctx)
		if err == nil {
			return r
		}
		if !errors.Is(err, rpctypes.ErrUnhealthy) && !errors.Is(err, rpctypes.ErrMemberLearnerNotReady) || ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// prepare plans a member and adds it to the cluster, as a learner or as a voter.
func prepare(t *testing.T, c *cluster.Cluster, client *clientv3.Client, learner bool) (*cluster.Member, uint64) {
	t.Helper()
	m, err := c.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	added := changed(t, func(ctx context.Context) (*clientv3.MemberAddResponse, error) {
		if learner {
			return client.MemberAddAsLearner(ctx, []string{m.PeerURL})
		}
		return client.MemberAdd(ctx, []string{m.PeerURL})
	})
	return m, added.Member.ID
}

func startReady(t *testing.T, m *cluster.Member, flags ...string) {
	t.Helper()
	if err := m.Start(flags...); err != nil {
		t.Fatal(err)
	}
	if err := m.AwaitReady(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
}

// memberID returns the id of a member that runs.
func memberID(t *testing.T, client *clientv3.Client, m *cluster.Member) uint64 {
	t.Helper()
	status, err := client.Status(within(t, 10*time.Second), m.ClientURL)
	if err != nil {
		t.Fatal(err)
	}
	return status.Header.MemberId
}

// expectExit waits until a member has ended by itself with exit code 1, saying why.
func expectExit(t *testing.T, m *cluster.Member, why string) {
	t.Helper()
	select {
	case <-m.Exited():
	case <-within(t, time.Minute).Done():
		t.Fatalf("%s still runs", m.Name)
	}
	log, err := os.ReadFile(m.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if m.ExitCode() != 1 || !strings.Contains(string(log), why) {
		t.Errorf("%s ended with exit code %d, want 1 and %q in\n%s", m.Name, m.ExitCode(), why, tail(log, 1000))
	}
}

const wasRemoved = "was removed from the cluster for good"

// TestMembersComeAndGo: a member joins as a learner, votes, and takes the place
// of another, while clients write.
func TestMembersComeAndGo(t *testing.T) {
	c := startCluster(t, 3)
	leader, followers := splitLeader(t, c)
	client := newClient(t, leader.ClientURL, followers[0].ClientURL)
	fill(t, client, 100)
	w := startWriter(t, client, "w")

	joined, id := prepare(t, c, client, true)
	if _, err := client.MemberPromote(within(t, 10*time.Second), id); !errors.Is(err, rpctypes.ErrMemberLearnerNotReady) {
		t.Errorf("promoting a learner that does not run: %v", err)
	}
	startReady(t, joined)
	own := newClient(t, joined.ClientURL)
	if got, err := own.Get(within(t, 10*time.Second), "fill/", clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithSerializable()); err != nil || got.Count != 100 {
		t.Errorf("the learner has %d of 100 keys, %v", got.Count, err)
	}
	if _, err := own.Get(within(t, 10*time.Second), "w"); !errors.Is(err, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)) {
		t.Errorf("a linearizable read of a learner: %v", err)
	}
	// A follower passes it on to the leader.
	follower := newClient(t, followers[0].ClientURL)
	changed(t, func(ctx context.Context) (*clientv3.MemberPromoteResponse, error) {
		return follower.MemberPromote(ctx, id)
	})
	for ctx := within(t, 30*time.Second); ; {
		if _, err := own.Get(ctx, "w"); err == nil {
			break // it knows of its promotion by now
		} else if ctx.Err() != nil {
			t.Fatalf("a linearizable read of the promoted member: %v", err)
		}
	}
	w.await(t, 10)

	gone := followers[1]
	goneID := memberID(t, client, gone)
	changed(t, func(ctx context.Context) (*clientv3.MemberRemoveResponse, error) {
		return client.MemberRemove(ctx, goneID)
	})
	expectExit(t, gone, wasRemoved)
	expectRefusal(t, gone, wasRemoved)
	c.Forget(gone)
	w.await(t, 10)
	w.end()
	list, err := client.MemberList(within(t, 10*time.Second))
	if err != nil || len(list.Members) != 3 {
		t.Errorf("members %v, %v: want three", list.Members, err)
	}
	if w.failed > 0 {
		t.Errorf("%d writes failed beside the changes", w.failed)
	}
	checkHashes(t, c)
}

// TestLeaderIsRemoved: leadership goes first, so that the others need no election.
func TestLeaderIsRemoved(t *testing.T) {
	c := startCluster(t, 3)
	leader, followers := splitLeader(t, c)
	client := newClient(t, leader.ClientURL) // the call goes to the leader itself
	id := memberID(t, client, leader)
	changed(t, func(ctx context.Context) (*clientv3.MemberRemoveResponse, error) { return client.MemberRemove(ctx, id) })
	expectExit(t, leader, wasRemoved)
	c.Forget(leader)
	rest := newClient(t, followers[0].ClientURL, followers[1].ClientURL)
	if _, err := rest.Put(within(t, 10*time.Second), "after", "1"); err != nil {
		t.Error(err)
	}
	checkHashes(t, c)
}

// TestMemberRemovedWhileDown learns it from the others when it starts, also
// when it has lost its data.
func TestMemberRemovedWhileDown(t *testing.T) {
	c := startCluster(t, 3)
	leader, followers := splitLeader(t, c)
	client := newClient(t, leader.ClientURL)
	gone := followers[0]
	id := memberID(t, client, gone)
	gone.Kill()
	changed(t, func(ctx context.Context) (*clientv3.MemberRemoveResponse, error) { return client.MemberRemove(ctx, id) })
	expectRefusal(t, gone, wasRemoved)
	if err := os.RemoveAll(gone.DataDir); err != nil {
		t.Fatal(err)
	}
	expectRefusal(t, gone, wasRemoved)
}

// TestJoiningIsRefused where the flags and the cluster do not fit.
func TestJoiningIsRefused(t *testing.T) {
	c := startCluster(t, 1)
	client := newClient(t, c.Endpoints()...)
	stranger, err := c.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	expectRefusal(t, stranger, "add this one first with 'member add")
	c.Forget(stranger)

	first, _ := prepare(t, c, client, true)
	startReady(t, first)
	// It knows too few members, then others than there are.
	for why, others := range map[string]string{
		"member count is unequal": "",
		"unmatched member":        ",x=http://127.0.0.1:1",
	} {
		second, err := c.Prepare()
		if err != nil {
			t.Fatal(err)
		}
		added := changed(t, func(ctx context.Context) (*clientv3.MemberAddResponse, error) {
			return client.MemberAdd(ctx, []string{second.PeerURL})
		})
		flag := c.Members[0].Name + "=" + c.Members[0].PeerURL + "," + second.Name + "=" + second.PeerURL + others
		if err := second.Start("--initial-cluster", flag); err != nil {
			t.Fatal(err)
		}
		expectExit(t, second, why)
		c.Forget(second)
		startReadyAndRemove(t, client, second, added.Member.ID, c, first)
	}
}

// startReadyAndRemove lets a member join after all, so that there is a quorum
// to remove it.
func startReadyAndRemove(t *testing.T, client *clientv3.Client, m *cluster.Member, id uint64, c *cluster.Cluster, first *cluster.Member) {
	t.Helper()
	flag := []string{m.Name + "=" + m.PeerURL, first.Name + "=" + first.PeerURL, c.Members[0].Name + "=" + c.Members[0].PeerURL}
	startReady(t, m, "--initial-cluster", strings.Join(flag, ","))
	changed(t, func(ctx context.Context) (*clientv3.MemberRemoveResponse, error) { return client.MemberRemove(ctx, id) })
	expectExit(t, m, wasRemoved)
}

// TestStoppedLeaderHandsOver: when SIGTERM ends a leader another one leads
// before, and what clients of the others write goes on.
func TestStoppedLeaderHandsOver(t *testing.T) {
	c := startCluster(t, 3)
	leader, followers := splitLeader(t, c)
	client := newClient(t, followers[0].ClientURL, followers[1].ClientURL)
	before, err := client.Status(within(t, 10*time.Second), followers[0].ClientURL)
	if err != nil {
		t.Fatal(err)
	}
	w := startWriter(t, client, "w")
	w.await(t, 10)
	leader.Stop()
	log, err := os.ReadFile(leader.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "leadership handed over") {
		t.Errorf("the leader ended without handing over:\n%s", tail(log, 1000))
	}
	after, err := client.Status(within(t, 10*time.Second), followers[0].ClientURL)
	if err != nil {
		t.Fatal(err)
	}
	if after.Leader == before.Leader || after.Leader == 0 || after.RaftTerm != before.RaftTerm+1 {
		t.Errorf("leader %x in term %d, before %x in %d: want another in the next term", after.Leader, after.RaftTerm, before.Leader, before.RaftTerm)
	}
	w.await(t, 10)
	w.end()
	t.Logf("longest gap between acknowledged writes: %s; %d failed", w.gap, w.failed)
}

// TestForcedCluster: the one member that is left goes on alone with all it has,
// and grows again; those left behind are refused.
func TestForcedCluster(t *testing.T) {
	c := startCluster(t, 3)
	leader, followers := splitLeader(t, c)
	client := newClient(t, leader.ClientURL)
	fill(t, client, 100)
	left := followers[0]

	left.Kill()
	if err := left.Start("--force-new-cluster"); err != nil {
		t.Fatal(err)
	}
	expectExit(t, left, "stop them all first") // the others run
	for _, m := range c.Members {
		m.Kill()
	}
	startReady(t, left, "--force-new-cluster")
	client = newClient(t, left.ClientURL)
	got, err := client.Get(within(t, 10*time.Second), "fill/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || got.Count != 100 {
		t.Errorf("%d of 100 keys are left, %v", got.Count, err)
	}
	list, err := client.MemberList(within(t, 10*time.Second))
	if err != nil || len(list.Members) != 1 {
		t.Errorf("members %v, %v: want one", list.Members, err)
	}
	expectRefusal(t, leader, wasRemoved)
	left.Stop()
	startReady(t, left) // without the flag

	c.Forget(leader)
	c.Forget(followers[1])
	joined, _ := prepare(t, c, client, false)
	startReady(t, joined)
	if _, err := newClient(t, joined.ClientURL).Put(within(t, 10*time.Second), "after", "1"); err != nil {
		t.Error(err)
	}
	checkHashes(t, c)
}

// TestEtcdctlChangesMembers drives the real etcdctl through a replacement.
func TestEtcdctlChangesMembers(t *testing.T) {
	c := startCluster(t, 3)
	leader, followers := splitLeader(t, c)
	client := newClient(t, leader.ClientURL)
	etcdctl := func(want string, args ...string) {
		t.Helper()
		args = append([]string{"--endpoints", strings.Join([]string{leader.ClientURL, followers[0].ClientURL}, ",")}, args...)
		out, err := exec.CommandContext(within(t, time.Minute), program(t, filepath.Join("e2e", "peers", "bin", "etcdctl")), args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("etcdctl %v: %v, want %q in\n%s", args, err, want, out)
		}
	}
	id := func(m *cluster.Member) string { return fmt.Sprintf("%x", memberID(t, client, m)) }

	etcdctl("Leadership transferred from "+id(leader)+" to "+id(followers[0]), "move-leader", id(followers[0]))
	etcdctl("updated in cluster", "member", "update", id(followers[1]), "--peer-urls", followers[1].PeerURL+",http://127.0.0.1:1")
	etcdctl("http://127.0.0.1:1,", "member", "list")
	etcdctl("updated in cluster", "member", "update", id(followers[1]), "--peer-urls", followers[1].PeerURL)
	joined, joinedID := prepare(t, c, client, true)
	startReady(t, joined)
	etcdctl("promoted in cluster", "member", "promote", fmt.Sprintf("%x", joinedID))
	gone := followers[1]
	goneID := id(gone)
	gone.Kill()
	etcdctl("removed from cluster", "member", "remove", goneID)
	c.Forget(gone)
	checkHashes(t, c)
}
