package e2e

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestMemberMissesThatOthersMove: a member that was down while all others moved
// finds none of them at the addresses it knows. They find it.
func TestMemberMissesThatOthersMove(t *testing.T) {
	c := startCluster(t, 3)
	leader, followers := splitLeader(t, c)
	down, others := followers[0], []*cluster.Member{leader, followers[1]}
	down.Kill()
	client := newClient(t, others[0].ClientURL, others[1].ClientURL)
	for _, m := range others {
		move(t, client, m)
	}
	if _, err := client.Put(within(t, 30*time.Second), "k", "v"); err != nil {
		t.Fatal(err)
	}
	startReady(t, down)
	got, err := newClient(t, down.ClientURL).Get(within(t, 10*time.Second), "k")
	if err != nil || got.Count != 1 {
		t.Errorf("the member reads %v, %v", got, err)
	}
}

// TestMemberMissesThatOthersCome: a member that was down while the cluster was
// replaced around it knows nobody who is there. They know it.
func TestMemberMissesThatOthersCome(t *testing.T) {
	c := startCluster(t, 3, "--strict-reconfig-check=false")
	leader, followers := splitLeader(t, c)
	down := followers[0]
	down.Kill()
	client := newClient(t, leader.ClientURL)
	var joined []*cluster.Member
	for range 2 {
		m, _ := prepare(t, c, client, false)
		startReady(t, m)
		joined = append(joined, m)
	}
	client = newClient(t, joined[0].ClientURL, joined[1].ClientURL)
	for _, m := range []*cluster.Member{leader, followers[1]} {
		id := memberID(t, client, m)
		changed(t, func(ctx context.Context) (*clientv3.MemberRemoveResponse, error) { return client.MemberRemove(ctx, id) })
		expectExit(t, m, wasRemoved)
		c.Forget(m)
	}
	if _, err := client.Put(within(t, 30*time.Second), "k", "v"); err != nil {
		t.Fatal(err)
	}
	startReady(t, down)
	got, err := newClient(t, down.ClientURL).Get(within(t, 10*time.Second), "k")
	if err != nil || got.Count != 1 {
		t.Errorf("the member reads %v, %v", got, err)
	}
	checkHashes(t, c)
}

// TestMemberMissesThatUsersAreAsked: what a member that lags may not know must
// not let anybody change the cluster, or have all there is, through it.
func TestMemberMissesThatUsersAreAsked(t *testing.T) {
	c := startCluster(t, 3)
	leader, followers := splitLeader(t, c)
	lagging := followers[0]
	nobody := newClient(t, lagging.ClientURL)
	if _, err := nobody.Get(within(t, 10*time.Second), "k"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(lagging.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	client := newClient(t, leader.ClientURL)
	fill(t, client, 5000)
	enableAuth(t, client)
	compacted, snapshot := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := nobody.Compact(within(t, 30*time.Second), 2)
		compacted <- err
	}()
	go func() {
		r, err := nobody.Snapshot(within(t, 30*time.Second))
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		snapshot <- err
	}()
	time.Sleep(100 * time.Millisecond) // in which the requests get to the member
	if err := syscall.Kill(lagging.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := <-compacted; err == nil {
		t.Error("nobody in particular has compacted")
	}
	if err := <-snapshot; err == nil {
		t.Error("nobody in particular got a snapshot")
	}
}

// move gives a member another peer URL, and starts it there.
func move(t *testing.T, client *clientv3.Client, m *cluster.Member) {
	t.Helper()
	id := memberID(t, client, m)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	changed(t, func(ctx context.Context) (*clientv3.MemberUpdateResponse, error) {
		return client.MemberUpdate(ctx, id, []string{url})
	})
	m.Stop()
	startReady(t, m, "--listen-peer-urls", url, "--initial-advertise-peer-urls", url)
}
