package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// TestLaggingMemberCatchesUpThroughSnapshot: a member that was down for longer
// than the log is kept gets the store while writes go on; killed in the middle
// of that it starts again and finishes.
func TestLaggingMemberCatchesUpThroughSnapshot(t *testing.T) {
	c := startCluster(t, 3, "--snapshot-catchup-entries", "50")
	leader, followers := splitLeader(t, c)
	lagging := followers[0]
	client := newClient(t, leader.ClientURL, followers[1].ClientURL)
	lagging.Kill()
	fill(t, client, 3000)

	writing, stopWriting := context.WithCancel(t.Context())
	defer stopWriting()
	var writer errgroup.Group
	acknowledged := 0
	writer.Go(func() error {
		for n := 0; writing.Err() == nil; n++ {
			if _, err := client.Put(t.Context(), "during", fmt.Sprint(n)); err != nil {
				return fmt.Errorf("a write beside the snapshot: %w", err)
			}
			acknowledged++
		}
		return nil
	})
	if err := lagging.Start(); err != nil {
		t.Fatal(err)
	}
	awaitReceiving(t, lagging)
	lagging.Kill() // in the middle of the stream
	if err := lagging.Start(); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, lagging, "received a store")
	lagging.Kill() // the store is there, and perhaps not installed yet
	if err := lagging.Start(); err != nil {
		t.Fatal(err)
	}
	if err := lagging.AwaitReady(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	stopWriting()
	if err := writer.Wait(); err != nil {
		t.Error(err)
	}
	if acknowledged == 0 {
		t.Error("no write went through beside the snapshot")
	}
	checkHashes(t, c)
	own := newClient(t, lagging.ClientURL)
	got, err := own.Get(within(t, 10*time.Second), "fill/", clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithSerializable())
	if err != nil || got.Count != 3000 {
		t.Errorf("the member that lagged has %d of 3000 keys, %v", got.Count, err)
	}
}

// TestLaggingMemberGetsWhatItLacks: a member that missed more than the log keeps
// gets the revisions above its own, also when it is killed while it takes them;
// once its next revision is compacted it gets the whole store.
func TestLaggingMemberGetsWhatItLacks(t *testing.T) {
	c := startCluster(t, 3, "--snapshot-catchup-entries", "50")
	leader, followers := splitLeader(t, c)
	lagging := followers[0]
	client := newClient(t, leader.ClientURL, followers[1].ClientURL)
	fill(t, client, 2000) // 8 MB
	awaitStored(t, lagging, func(bytes int64) bool { return bytes > 4<<20 })
	lagging.Kill()
	fillFrom(t, client, 2000, 4000)
	// Once three quarters of these are stored, their entries leave the log.
	awaitStored(t, leader, func(bytes int64) bool { return bytes > 14<<20 })
	restart := func() {
		t.Helper()
		if err := lagging.Start(); err != nil {
			t.Fatal(err)
		}
	}
	restart()
	awaitReceiving(t, lagging)
	lagging.Kill() // in the middle of the stream, or of the merge
	restart()
	awaitLog(t, lagging, `"delta":true`)
	lagging.Kill() // the delta is there, and perhaps not merged yet
	restart()
	if err := lagging.AwaitReady(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	checkHashes(t, c)
	if log := readLog(t, leader); strings.Contains(log, "sent the whole store") {
		t.Errorf("%s sent the whole store", leader.Name)
	}

	lagging.Kill()
	// A physical compaction ends with a flush, after which the log is let go too: all
	// but a little of it, so that the second flush certainly leaves the member behind.
	for range 2 {
		fillFrom(t, client, 0, 1000)
		got, err := client.Get(t.Context(), "fill/0", clientv3.WithCountOnly())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Compact(t.Context(), got.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
			t.Fatal(err)
		}
	}
	fillFrom(t, client, 0, 100)
	restart()
	if err := lagging.AwaitReady(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, leader, "sent the whole store")
	checkHashes(t, c)
	// A store that came twice, or late, is of no use to raft and goes with the next start.
	lagging.Kill()
	restart()
	if err := lagging.AwaitReady(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(lagging.DataDir, "member", "snap", "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the store there is %q, %v", left, err)
	}
}

// awaitStored waits until the bytes in use of a member's store, which is behind
// its log by up to a flush, are as they should be.
func awaitStored(t *testing.T, m *cluster.Member, done func(bytes int64) bool) (bytes int64) {
	t.Helper()
	client := newClient(t, m.ClientURL)
	ctx := within(t, time.Minute)
	for {
		status, err := client.Status(ctx, m.ClientURL)
		if err != nil {
			t.Fatal(err)
		}
		if done(status.DbSizeInUse) {
			return status.DbSizeInUse
		}
		time.Sleep(time.Millisecond)
	}
}

// readLog returns what a member has logged.
func readLog(t *testing.T, m *cluster.Member) string {
	t.Helper()
	log, err := os.ReadFile(m.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// fill writes n keys of 4 KiB, several at a time.
func fill(t *testing.T, client *clientv3.Client, n int) {
	t.Helper()
	fillFrom(t, client, 0, n)
}

// fillFrom writes the keys from first up to end.
func fillFrom(t *testing.T, client *clientv3.Client, first, end int) {
	t.Helper()
	value := strings.Repeat("v", 4096)
	var g errgroup.Group
	g.SetLimit(8)
	for i := first; i < end; i++ {
		g.Go(func() error {
			_, err := client.Put(t.Context(), fmt.Sprintf("fill/%d", i), value)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// awaitReceiving waits until a member has begun to receive a store.
func awaitReceiving(t *testing.T, m *cluster.Member) {
	t.Helper()
	ctx := within(t, time.Minute)
	for {
		partial, err := filepath.Glob(filepath.Join(m.DataDir, "member", "snap", "receive-*.tmp"))
		if err != nil {
			t.Fatal(err)
		}
		if len(partial) > 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s receives no store", m.Name)
		case <-time.After(100 * time.Microsecond):
		}
	}
}

// awaitLog waits until a member's log has a line with text.
func awaitLog(t *testing.T, m *cluster.Member, text string) {
	t.Helper()
	ctx := within(t, time.Minute)
	for {
		log, err := os.ReadFile(m.LogFile)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(log), text) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no %q in the log of %s", text, m.Name)
		case <-m.Exited():
			t.Fatalf("%s ended before it logged %q", m.Name, text)
		case <-time.After(time.Millisecond):
		}
	}
}
