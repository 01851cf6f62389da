package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const loadPrefix = "load/"

// workers drive mixed load through one client and remember what was acknowledged.
type workers struct {
	client *clientv3.Client

	mu         sync.Mutex
	acks       []ack
	increments int // acknowledged by the store
	unknown    int // increments whose outcome is not known
	kept       []string
	revoked    []string
}

// attempt bounds one request: while no quorum runs, requests fail.
func attempt(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 3*time.Second)
}

// put writes one key after the other.
func (w *workers) put(ctx context.Context, id int) {
	for n := 0; ctx.Err() == nil; n++ {
		key, value := fmt.Sprintf("%sput/%d/%d", loadPrefix, id, n%100), strconv.Itoa(n)
		try, cancel := attempt(ctx)
		resp, err := w.client.Put(try, key, value)
		cancel()
		if err == nil {
			w.acked(ack{key, value, resp.Header.Revision})
		}
	}
}

func (w *workers) acked(a ack) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks = append(w.acks, a)
}

// increment counts with compare-and-swap transactions.
func (w *workers) increment(ctx context.Context) {
	const key = loadPrefix + "counter"
	for ctx.Err() == nil {
		try, cancel := attempt(ctx)
		w.incrementOnce(try, key)
		cancel()
	}
}

func (w *workers) incrementOnce(ctx context.Context, key string) {
	got, err := w.client.Get(ctx, key)
	if err != nil {
		return
	}
	value, revision := "1", int64(0)
	if len(got.Kvs) == 1 {
		n, err := strconv.Atoi(string(got.Kvs[0].Value))
		if err != nil {
			panic(err)
		}
		value, revision = strconv.Itoa(n+1), got.Kvs[0].ModRevision
	}
	resp, err := w.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpPut(key, value)).Commit()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.unknown++
	case resp.Succeeded:
		w.increments++
		w.acks = append(w.acks, ack{key, value, resp.Header.Revision})
	}
}

// lease grants leases, attaches a key to each and revokes every second one.
func (w *workers) lease(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		try, cancel := attempt(ctx)
		w.leaseOnce(try, fmt.Sprintf("%slease/%d", loadPrefix, n), n%2 == 0)
		cancel()
	}
}

func (w *workers) leaseOnce(ctx context.Context, key string, revoke bool) {
	granted, err := w.client.Grant(ctx, 600)
	if err != nil {
		return
	}
	put, err := w.client.Put(ctx, key, "leased", clientv3.WithLease(granted.ID))
	if err != nil {
		return
	}
	w.acked(ack{key, "leased", put.Header.Revision})
	if !revoke {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.kept = append(w.kept, key)
		return
	}
	if _, err := w.client.Revoke(ctx, granted.ID); err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.revoked = append(w.revoked, key)
	}
}

// killInTurn ends members with SIGKILL and starts them again, one after the
// other and then all at once, until ctx ends. It leaves all of them running.
func killInTurn(ctx context.Context, c *cluster.Cluster) error {
	pause := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-ctx.Done():
			return false
		}
	}
	restart := func(members ...*cluster.Member) error {
		for _, m := range members {
			m.Kill()
		}
		pause(time.Second)
		for _, m := range members {
			if err := m.Start(); err != nil {
				return err
			}
		}
		for _, m := range members {
			ready, cancel := context.WithTimeout(context.Background(), time.Minute)
			err := m.AwaitReady(ready)
			cancel()
			if err != nil {
				return err
			}
		}
		return nil
	}
	for {
		for _, m := range c.Members {
			if !pause(2 * time.Second) {
				return nil
			}
			if err := restart(m); err != nil {
				return err
			}
		}
		if !pause(2 * time.Second) {
			return nil
		}
		if err := restart(c.Members...); err != nil {
			return err
		}
	}
}

// TestNothingIsLostWhenMembersAreKilled: 60 s of mixed load on three members
// that are killed in turn, and all at once.
func TestNothingIsLostWhenMembersAreKilled(t *testing.T) {
	duration := time.Minute
	if testing.Short() {
		duration = 15 * time.Second
	}
	c := startCluster(t, 3)
	w := &workers{client: newClient(t, c.Endpoints()...)}
	watchClient := newClient(t, c.Endpoints()...)

	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	watchCtx, stopWatching := context.WithCancel(t.Context())
	defer stopWatching()
	watches := []*recorder{{}, {}}
	var watching errgroup.Group
	for _, r := range watches {
		watching.Go(func() error { return r.follow(watchCtx, watchClient, loadPrefix, 0) })
	}
	var running sync.WaitGroup
	for id := range 4 {
		running.Go(func() { w.put(ctx, id) })
	}
	running.Go(func() { w.increment(ctx) })
	running.Go(func() { w.increment(ctx) })
	running.Go(func() { w.lease(ctx) })
	if err := killInTurn(ctx, c); err != nil {
		t.Fatal(err)
	}
	running.Wait()
	t.Logf("%d writes acknowledged, %d increments, %d of unknown outcome", len(w.acks), w.increments, w.unknown)
	if len(w.acks) < 100 {
		t.Fatalf("only %d writes were acknowledged: the load proves nothing", len(w.acks))
	}

	last := finalRevision(t, w.client)
	var history []event
	for _, m := range c.Members {
		got, err := readHistory(within(t, time.Minute), newClient(t, m.ClientURL), loadPrefix, last)
		if err != nil {
			t.Fatalf("history of %s: %v", m.Name, err)
		}
		got = upTo(got, last)
		if history == nil {
			history = got
		}
		if err := checkWatch(history, got); err != nil {
			t.Errorf("history of %s: %v", m.Name, err)
		}
	}
	if err := checkAcks(history, w.acks); err != nil {
		t.Error(err)
	}
	for i, r := range watches {
		awaitRevision(t, r, last)
		if err := checkWatch(history, upTo(r.take(), last)); err != nil {
			t.Errorf("watch %d: %v", i, err)
		}
	}
	stopWatching()
	if err := watching.Wait(); err != nil {
		t.Errorf("watch: %v", err)
	}
	checkCounter(t, w)
	checkLeasedKeys(t, w)
	checkHashes(t, c)
}

// finalRevision writes a last key and returns its revision.
func finalRevision(t *testing.T, c *clientv3.Client) int64 {
	t.Helper()
	resp, err := c.Put(within(t, 30*time.Second), loadPrefix+"last", "")
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

func awaitRevision(t *testing.T, r *recorder, revision int64) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	for {
		seen := r.take()
		if len(seen) > 0 && seen[len(seen)-1].revision >= revision {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("a watch did not reach revision %d: it has %d events", revision, len(seen))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func checkCounter(t *testing.T, w *workers) {
	t.Helper()
	got, err := w.client.Get(within(t, 30*time.Second), loadPrefix+"counter")
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("counter: %v, %v", got, err)
	}
	n, err := strconv.Atoi(string(got.Kvs[0].Value))
	if err != nil {
		t.Fatal(err)
	}
	if n < w.increments || n > w.increments+w.unknown {
		t.Errorf("the counter stands at %d after %d acknowledged increments and %d of unknown outcome", n, w.increments, w.unknown)
	}
}

func checkLeasedKeys(t *testing.T, w *workers) {
	t.Helper()
	count := func(key string) int64 {
		got, err := w.client.Get(within(t, 30*time.Second), key, clientv3.WithCountOnly())
		if err != nil {
			t.Fatal(err)
		}
		return got.Count
	}
	for _, key := range w.kept {
		if count(key) != 1 {
			t.Errorf("%s is gone, its lease runs for ten minutes", key)
		}
	}
	for _, key := range w.revoked {
		if count(key) != 0 {
			t.Errorf("%s is still there, its lease was revoked", key)
		}
	}
}

// checkHashes compares the members' stores at one revision.
func checkHashes(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	client := newClient(t, c.Endpoints()...)
	got, err := client.Get(within(t, 30*time.Second), "x", clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	var hashes []uint32
	for _, m := range c.Members {
		hash, err := awaitHash(within(t, 30*time.Second), client, m.ClientURL, got.Header.Revision)
		if err != nil {
			t.Fatalf("hash of %s: %v", m.Name, err)
		}
		hashes = append(hashes, hash)
	}
	for i, hash := range hashes {
		if hash != hashes[0] {
			t.Errorf("%s has hash %08x at revision %d, %s has %08x", c.Members[i].Name, hash, got.Header.Revision, c.Members[0].Name, hashes[0])
		}
	}
}

// awaitHash asks a member for its hash until it has reached the revision.
func awaitHash(ctx context.Context, client *clientv3.Client, endpoint string, revision int64) (uint32, error) {
	for {
		resp, err := client.HashKV(ctx, endpoint, revision)
		if err == nil {
			return resp.Hash, nil
		}
		select {
		case <-ctx.Done():
			return 0, errors.Join(err, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
