package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const (
	operationsHeartbeat = 100 * time.Millisecond
	operationsElection  = 2 * time.Second

	// longestElection bounds how long a reader may go without an answer. raft
	// waits one to two election timeouts before a member asks for votes. What
	// follows, two rounds of votes, the leader's first entry and the client's
	// change of connection, gets ten heartbeats.
	longestElection = 2*operationsElection + 10*operationsHeartbeat
)

// TestOperationsUnderLoad: what operators do to five members, one thing after the
// other, while clients write, read and watch. No read fails for longer than an
// election takes, no write is lost, no watch misses anything.
func TestOperationsUnderLoad(t *testing.T) {
	o := startOperations(t)
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"rolling restart", o.restartAll},
		{"add, promote, remove", o.replaceLeader},
		{"move the leader", o.moveLeader},
		{"snapshot", o.saveSnapshot},
		{"defragment", o.defragment},
		{"compact", o.compact},
	} {
		o.during(t, step.name, step.do)
	}
	o.stopLoad()
	o.check(t)
}

// operations is a cluster under load.
type operations struct {
	cluster *cluster.Cluster
	client  *clientv3.Client // of the operator
	began   time.Time

	puts, counter, leases *workers
	readers               []*reader
	watches               []*recorder
	watching              *errgroup.Group
	stopLoad, stopWatches func()

	past []event // what was compacted away, as all members have told before
}

func startOperations(t *testing.T) *operations {
	c := startCluster(t, 5,
		"--heartbeat-interval", fmt.Sprint(operationsHeartbeat.Milliseconds()),
		"--election-timeout", fmt.Sprint(operationsElection.Milliseconds()))
	o := &operations{cluster: c, client: newClient(t, c.Endpoints()...), began: time.Now()}
	megabytes := 16
	if testing.Short() {
		megabytes = 4
	}
	fillRandom(t, o.client, 10*megabytes, 100<<10)

	o.puts, o.counter, o.leases = o.workers(t), o.workers(t), o.workers(t)
	loads := []func(context.Context){
		func(ctx context.Context) { o.puts.put(ctx, 0) },
		func(ctx context.Context) { o.puts.put(ctx, 1) },
		o.counter.increment,
		o.counter.increment,
		o.leases.lease,
	}
	for _, w := range o.allWorkers() {
		r := &reader{client: w.client, acked: o.acked}
		o.readers = append(o.readers, r)
		loads = append(loads, r.read)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, load := range loads {
		running.Go(func() { load(ctx) })
	}
	o.stopLoad = func() { stop(); running.Wait() }
	t.Cleanup(o.stopLoad)

	watchCtx, stopWatches := context.WithCancel(t.Context())
	t.Cleanup(stopWatches)
	o.stopWatches, o.watching = stopWatches, new(errgroup.Group)
	for _, w := range o.allWorkers() {
		r := new(recorder)
		o.watches = append(o.watches, r)
		o.watching.Go(func() error { return r.follow(watchCtx, w.client, loadPrefix, 0) })
	}
	return o
}

func (o *operations) workers(t *testing.T) *workers {
	return &workers{client: newClient(t, o.cluster.Endpoints()...)}
}

func (o *operations) allWorkers() []*workers { return []*workers{o.puts, o.counter, o.leases} }

// acked is the newest revision of which a client was told.
func (o *operations) acked() (revision int64) {
	for _, w := range o.allWorkers() {
		revision = max(revision, w.newest())
	}
	return revision
}

// newest is the newest revision that was acknowledged.
func (w *workers) newest() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.acks) == 0 {
		return 0
	}
	return w.acks[len(w.acks)-1].revision
}

func (w *workers) acknowledged() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acks)
}

// reader reads one key again and again, linearizably.
type reader struct {
	client *clientv3.Client
	acked  func() int64

	longest atomic.Int64 // nanoseconds between two answers, since it was last taken

	mu       sync.Mutex
	reads    int
	failures map[string]int
	stale    error
}

func (r *reader) read(ctx context.Context) {
	for last := time.Now(); ctx.Err() == nil; {
		acked := r.acked()
		try, cancel := attempt(ctx)
		got, err := r.client.Get(try, loadPrefix+"counter")
		cancel()
		if ctx.Err() != nil {
			return
		}
		r.longest.Store(max(r.longest.Load(), int64(time.Since(last))))
		r.note(got, err, acked)
		if err == nil {
			last = time.Now()
		}
	}
}

// note counts a read. Before it began, acked was the newest revision.
func (r *reader) note(got *clientv3.GetResponse, err error, acked int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	switch {
	case err != nil:
		if r.failures == nil {
			r.failures = map[string]int{}
		}
		r.failures[err.Error()]++
	case got.Header.Revision < acked:
		r.stale = fmt.Errorf("a linearizable read saw revision %d when %d was acknowledged", got.Header.Revision, acked)
	}
}

// during does a step, and looks how long readers had to wait meanwhile. Load
// goes on before the next one.
func (o *operations) during(t *testing.T, step string, do func(*testing.T)) {
	t.Helper()
	began := time.Now()
	acked := make([]int, 0, 3)
	for _, w := range o.allWorkers() {
		acked = append(acked, w.acknowledged())
	}
	do(t)
	for i, w := range o.allWorkers() {
		await(t, "writes do not go on", func() bool { return w.acknowledged() >= acked[i]+10 })
	}
	longest := time.Duration(0)
	for _, r := range o.readers {
		longest = max(longest, time.Duration(r.longest.Swap(0)))
	}
	o.log(t, "%s took %s; longest wait of a reader %s", step, time.Since(began).Round(time.Millisecond), longest.Round(time.Millisecond))
	if longest > longestElection {
		t.Errorf("%s: a reader had no answer for %s, an election takes at most %s", step, longest, longestElection)
	}
}

func (o *operations) log(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("%6.2fs "+format, append([]any{time.Since(o.began).Seconds()}, args...)...)
}

// restartAll ends each member with SIGTERM and starts it again, the leader last.
func (o *operations) restartAll(t *testing.T) {
	leader, followers := splitLeader(t, o.cluster)
	for _, m := range append(followers, leader) {
		m.Stop()
		if code := m.ExitCode(); code != 0 {
			t.Errorf("%s ended with exit code %d", m.Name, code)
		}
		startReady(t, m)
		o.log(t, "%s was restarted", m.Name)
	}
	if log, err := os.ReadFile(leader.LogFile); err != nil || !strings.Contains(string(log), "leadership handed over") {
		t.Errorf("the leader, %s, ended without handing over: %v", leader.Name, err)
	}
}

// replaceLeader adds a learner, promotes it, and removes the leader.
func (o *operations) replaceLeader(t *testing.T) {
	joined, id := prepare(t, o.cluster, o.client, true)
	startReady(t, joined)
	o.log(t, "%s joined as a learner", joined.Name)
	changed(t, func(ctx context.Context) (*clientv3.MemberPromoteResponse, error) {
		return o.client.MemberPromote(ctx, id)
	})
	o.log(t, "%s was promoted", joined.Name)
	leader, _ := splitLeader(t, o.cluster)
	leaderID := memberID(t, o.client, leader)
	changed(t, func(ctx context.Context) (*clientv3.MemberRemoveResponse, error) {
		return o.client.MemberRemove(ctx, leaderID)
	})
	expectExit(t, leader, wasRemoved)
	o.log(t, "%s, the leader, was removed", leader.Name)
	o.cluster.Forget(leader)
	checkLog(t, leader, wasRemoved, "Error: this member cannot go on")
	for _, client := range append(o.clients(), o.client) {
		if err := client.Sync(within(t, 10*time.Second)); err != nil {
			t.Errorf("learn of the members: %v", err)
		}
		if !slices.Contains(client.Endpoints(), joined.ClientURL) || slices.Contains(client.Endpoints(), leader.ClientURL) {
			t.Errorf("a client knows of %v", client.Endpoints())
		}
	}
}

func (o *operations) clients() (all []*clientv3.Client) {
	for _, w := range o.allWorkers() {
		all = append(all, w.client)
	}
	return all
}

// moveLeader lets each member lead once.
func (o *operations) moveLeader(t *testing.T) {
	for _, to := range o.cluster.Members {
		leader, _ := splitLeader(t, o.cluster)
		if leader == to {
			continue
		}
		if _, err := newClient(t, leader.ClientURL).MoveLeader(within(t, 10*time.Second), memberID(t, o.client, to)); err != nil {
			t.Errorf("from %s to %s: %v", leader.Name, to.Name, err)
		}
		o.log(t, "%s leads", to.Name)
	}
}

// saveSnapshot saves each member's store. etcd's own tool must find it sound, and
// with all that was acknowledged before.
func (o *operations) saveSnapshot(t *testing.T) {
	for _, m := range o.cluster.Members {
		file := filepath.Join(t.TempDir(), "snapshot.db")
		acked := o.acked()
		mustTool(t, "etcdctl", "--endpoints", m.ClientURL, "snapshot", "save", file)
		status := mustTool(t, "etcdutl", "snapshot", "status", file, "-w", "fields")
		revision := int64(0)
		for line := range strings.Lines(status) {
			fmt.Sscanf(line, "\"Revision\" : %d", &revision)
		}
		if revision < acked {
			t.Errorf("the snapshot of %s ends at revision %d, %d was acknowledged before:\n%s", m.Name, revision, acked, status)
		}
		o.log(t, "%s gave a snapshot at revision %d", m.Name, revision)
	}
}

func (o *operations) defragment(t *testing.T) {
	for _, m := range o.cluster.Members {
		if _, err := o.client.Defragment(within(t, time.Minute), m.ClientURL); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		o.log(t, "%s is defragmented", m.Name)
	}
}

// compact removes the history up to now, once all have told it and all watches
// have seen it.
func (o *operations) compact(t *testing.T) {
	upTo := finalRevision(t, o.client)
	o.past = o.history(t, 1, upTo)
	for _, r := range o.watches {
		awaitRevision(t, r, upTo)
	}
	if _, err := o.client.Compact(within(t, time.Minute), upTo, clientv3.WithCompactPhysical()); err != nil {
		t.Error(err)
	}
	o.log(t, "compacted %d events up to revision %d", len(o.past), upTo)
}

// history returns what has happened between two revisions, as all members tell it.
func (o *operations) history(t *testing.T, first, last int64) (history []event) {
	t.Helper()
	for _, m := range o.cluster.Members {
		got, err := readHistorySince(within(t, time.Minute), newClient(t, m.ClientURL), loadPrefix, first, last)
		if err != nil {
			t.Fatalf("history of %s: %v", m.Name, err)
		}
		if history == nil {
			history = got
		}
		// What comes with the last revision's answer may go beyond it.
		if err := checkWatch(upTo(history, last), upTo(got, last)); err != nil {
			t.Errorf("history of %s: %v", m.Name, err)
		}
	}
	return upTo(history, last)
}

// upTo leaves out what happened later, as a write whose client no longer waited for
// it when the load ended.
func upTo(history []event, last int64) []event {
	later := slices.IndexFunc(history, func(ev event) bool { return ev.revision > last })
	if later < 0 {
		return history
	}
	return history[:later]
}

// check compares what clients were told, and what they saw, with what the members
// hold in the end.
func (o *operations) check(t *testing.T) {
	last := finalRevision(t, o.client)
	compacted := o.past[len(o.past)-1].revision
	history := append(o.past, o.history(t, compacted+1, last)...)
	writes := 0
	for _, w := range o.allWorkers() {
		writes += len(w.acks)
		if err := checkAcks(history, w.acks); err != nil {
			t.Error(err)
		}
	}
	for i, r := range o.watches {
		awaitRevision(t, r, last)
		if err := checkWatch(history, upTo(r.take(), last)); err != nil {
			t.Errorf("watch %d: %v", i, err)
		}
	}
	o.stopWatches()
	if err := o.watching.Wait(); err != nil {
		t.Errorf("watch: %v", err)
	}
	reads := 0
	for _, r := range o.readers {
		reads += r.reads
		if r.stale != nil {
			t.Error(r.stale)
		}
		for err, n := range r.failures {
			t.Logf("%d reads failed: %s", n, err)
		}
	}
	t.Logf("%d writes acknowledged, %d increments of unknown outcome, %d reads", writes, o.counter.unknown, reads)
	checkCounter(t, o.counter)
	checkLeasedKeys(t, o.leases)
	checkHashes(t, o.cluster)
	for _, m := range o.cluster.Members {
		checkLog(t, m)
	}
}

// checkLog finds errors and panics in a member's log, but for those expected. What
// is no JSON was not logged but thrown.
func checkLog(t *testing.T, m *cluster.Member, expected ...string) {
	t.Helper()
	log, err := os.ReadFile(m.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		bad := strings.Contains(line, `"level":"ERROR"`) || !strings.HasPrefix(line, "{")
		if bad && !slices.ContainsFunc(expected, func(text string) bool { return strings.Contains(line, text) }) {
			t.Errorf("log of %s: %s", m.Name, line)
		}
	}
}
