package raftnode_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/raftnode"
)

func TestMembersApplyTheSame(t *testing.T) {
	n := newNetwork(t, 3)
	n.leader()
	var writers sync.WaitGroup
	var mu sync.Mutex
	answers := map[int64]string{}
	for id, m := range n.members {
		writers.Go(func() {
			for i := range 50 {
				key := fmt.Sprintf("%d/%d", id, i)
				revision, err := put(t.Context(), m, key)
				if err != nil {
					t.Errorf("put at member %d: %v", id, err)
					return
				}
				mu.Lock()
				answers[revision] = key
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	for id, m := range n.members {
		if err := m.node.ReadIndex(t.Context()); err != nil {
			t.Fatalf("read index at member %d: %v", id, err)
		}
		keys := m.machine.state().keys
		if len(keys) != 150 {
			t.Fatalf("member %d has applied %d keys, want 150", id, len(keys))
		}
		for i, key := range keys {
			if answers[int64(i+1)] != key {
				t.Fatalf("member %d has %s at %d, the answer said %s", id, key, i+1, answers[int64(i+1)])
			}
		}
	}
}

func TestReadIndexSeesWhatWasAcknowledged(t *testing.T) {
	n := newNetwork(t, 3)
	n.leader()
	for i := range 100 {
		writer, reader := n.members[uint64(i%3)+1], n.members[uint64((i+1)%3)+1]
		key := fmt.Sprint(i)
		mustPut(t, writer, key)
		if err := reader.node.ReadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(reader.machine.state().keys, key) {
			t.Fatalf("member %d reads without %s, which was acknowledged before", reader.id, key)
		}
	}
}

func TestCutOffLeaderNeitherReadsNorWrites(t *testing.T) {
	n := newNetwork(t, 3)
	old := n.leader()
	mustPut(t, old, "before")
	n.setCut(old.id, true)
	next := n.leader(old.id)
	mustPut(t, next, "after")

	if err := old.node.ReadIndex(t.Context()); !errors.Is(err, raftnode.ErrTimeout) && !errors.Is(err, raftnode.ErrNoLeader) {
		t.Errorf("a read at the cut-off leader: %v, want ErrTimeout or ErrNoLeader", err)
	}
	if _, err := put(t.Context(), old, "lost"); !errors.Is(err, raftnode.ErrTimeout) && !errors.Is(err, raftnode.ErrNoLeader) {
		t.Errorf("a write at the cut-off leader: %v, want ErrTimeout or ErrNoLeader", err)
	}
	n.setCut(old.id, false)
	n.leader()
	if err := old.node.ReadIndex(t.Context()); err != nil {
		t.Fatal(err)
	}
	if keys := old.machine.state().keys; !slices.Equal(keys[:2], []string{"before", "after"}) {
		t.Errorf("after the cut healed the old leader has %q", keys)
	}
}

// TestProposalLostWithItsLeaderEndsSoon: what a follower has passed on to a
// leader that is gone does not wait for the request timeout.
func TestProposalLostWithItsLeaderEndsSoon(t *testing.T) {
	n := newNetwork(t, 3)
	old := n.leader()
	follower := n.members[old.id%3+1]
	n.setCut(old.id, true)
	_, err := put(t.Context(), follower, "passed on")
	if err != nil && !errors.Is(err, raftnode.ErrLeaderChanged) {
		t.Errorf("a put passed on to the leader that is gone: %v, want ErrLeaderChanged", err)
	}
	mustPut(t, n.leader(old.id), "after")
}

func TestRestartReplaysTheLog(t *testing.T) {
	n := newNetwork(t, 1)
	m := n.leader()
	var want []string
	for round := range 5 {
		for i := range 20 {
			key := fmt.Sprintf("%d/%d", round, i)
			mustPut(t, m, key)
			want = append(want, key)
		}
		n.stop(m)
		m.machine.crash()
		m.fs.Crash(uint64(round))
		n.start(m)
		if err := m.node.ReadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.machine.state().keys; !slices.Equal(got, want) {
			t.Fatalf("after restart %d: keys are %q, want %q", round, got, want)
		}
	}
}

func TestLaggingMemberGetsSnapshot(t *testing.T) {
	n := newNetwork(t, 3)
	leader := n.leader()
	lagging := n.members[leader.id%3+1]
	n.setCut(lagging.id, true)
	for i := range 100 {
		mustPut(t, leader, fmt.Sprint(i))
	}
	awaitFlush(t, leader) // the log is let go with it
	n.setCut(lagging.id, false)
	if err := retry(t, func() error { return lagging.node.ReadIndex(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	if got, want := lagging.machine.state().keys, leader.machine.state().keys; !slices.Equal(got, want) {
		t.Errorf("the member that lagged has %d keys, the leader %d", len(got), len(want))
	}
	n.stop(lagging)
	lagging.machine.crash()
	n.start(lagging)
	if err := retry(t, func() error { return lagging.node.ReadIndex(t.Context()) }); err != nil {
		t.Fatalf("after a restart: %v", err)
	}
	if got, want := lagging.machine.state().keys, leader.machine.state().keys; !slices.Equal(got, want) {
		t.Errorf("after a restart the member has %d keys, the leader %d", len(got), len(want))
	}
}

// installSlowly makes one of three members lag and returns it with its
// installation of a snapshot begun, which goOn lets end.
func (n *network) installSlowly() (lagging *member, goOn func()) {
	n.t.Helper()
	leader := n.leader()
	lagging = n.members[leader.id%3+1]
	n.setCut(lagging.id, true)
	for i := range 100 {
		mustPut(n.t, leader, fmt.Sprint(i))
	}
	awaitFlush(n.t, leader)
	begun, end := make(chan struct{}), make(chan struct{})
	n.installing = sync.OnceFunc(func() {
		close(begun)
		<-end
	})
	n.setCut(lagging.id, false)
	<-begun
	return lagging, sync.OnceFunc(func() { close(end) })
}

// A stop is no failure, also while a snapshot is being installed.
func TestStopWhileSnapshotIsInstalled(t *testing.T) {
	n := newNetwork(t, 3)
	lagging, goOn := n.installSlowly()
	time.AfterFunc(50*time.Millisecond, goOn)
	n.stop(lagging)
	select {
	case err := <-lagging.fatal:
		t.Errorf("a member that is stopped fails with: %v", err)
	default:
	}
}

// A member that campaigns while it applies much has the entries that raft looks
// through then, whatever was flushed meanwhile.
func TestCampaignWhileApplying(t *testing.T) {
	n := newNetwork(t, 3)
	leader := n.leader()
	m := n.members[leader.id%3+1]
	start := m.machine.state()
	start.index, start.term, start.keys = 1, 1, nil
	for i := range 100 {
		mustPut(t, leader, fmt.Sprint(i))
	}
	awaitFlush(t, leader)
	if err := m.node.ReadIndex(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.stop(m)
	m.machine.now, m.machine.flushed = start, start
	goOn := make(chan struct{})
	m.machine.before = func(index uint64) {
		if index == 90 {
			<-goOn
		}
	}
	n.setCut(m.id, true)
	n.start(m)
	time.Sleep(time.Second) // in which it flushes and campaigns
	if index, _ := m.machine.Applied(); index != 89 {
		t.Errorf("the member has applied %d entries, want 89", index)
	}
	close(goOn)
	n.setCut(m.id, false)
	if err := retry(t, func() error { return m.node.ReadIndex(t.Context()) }); err != nil {
		t.Fatal(err)
	}
}

// awaitFlush waits until a member has flushed all it has applied.
func awaitFlush(t *testing.T, m *member) {
	t.Helper()
	want, _ := m.machine.Applied()
	for range 500 {
		m.machine.mu.Lock()
		flushed := m.machine.flushed.index
		m.machine.mu.Unlock()
		if flushed >= want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nothing was flushed")
}

// retry calls f again while it times out, for half a minute at most.
func retry(t *testing.T, f func() error) error {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := f()
		if !errors.Is(err, raftnode.ErrTimeout) && !errors.Is(err, raftnode.ErrNoLeader) || time.Now().After(deadline) {
			return err
		}
	}
}

func TestFailedSyncStopsTheMember(t *testing.T) {
	n := newNetwork(t, 1)
	m := n.leader()
	mustPut(t, m, "before")
	broken := errors.New("input/output error")
	m.fs.SetFault(func(op disk.Op) error {
		if op.Kind == disk.Sync {
			return broken
		}
		return nil
	})
	if _, err := put(t.Context(), m, "after"); err == nil {
		t.Error("a write was acknowledged that was not synced")
	}
	if err := <-m.fatal; !errors.Is(err, broken) {
		t.Errorf("the member failed with %v, want %v", err, broken)
	}
	if _, err := put(t.Context(), m, "later"); err == nil {
		t.Error("a write was acknowledged after the sync failed")
	}
}

func TestStopEndsWhatWaits(t *testing.T) {
	n := newNetwork(t, 3)
	m := n.leader()
	for id := range n.members {
		n.setCut(id, true)
	}
	ended := make(chan error, 2)
	go func() { _, err := put(context.Background(), m, "never"); ended <- err }()
	go func() { ended <- m.node.ReadIndex(context.Background()) }()
	time.AfterFunc(50*time.Millisecond, func() { n.stop(m) })
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("a request was answered without a quorum")
		}
	}
}

func TestRequestsAreBounded(t *testing.T) {
	n := newNetwork(t, 3)
	m := n.leader()
	for id := range n.members {
		n.setCut(id, true)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	large := string(make([]byte, 1<<20))
	refused := make(chan error, 1000)
	var waiting sync.WaitGroup
	for range 600 { // more than may be uncommitted and waiting together
		waiting.Go(func() {
			if _, err := put(ctx, m, large); errors.Is(err, raftnode.ErrTooManyRequests) {
				refused <- err
				cancel()
			}
		})
	}
	waiting.Wait()
	if len(refused) == 0 {
		t.Error("600 MiB of requests wait without a quorum, none was refused")
	}
}
