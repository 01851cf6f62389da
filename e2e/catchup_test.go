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

// fill writes n keys of 4 KiB, several at a time.
func fill(t *testing.T, client *clientv3.Client, n int) {
	t.Helper()
	value := strings.Repeat("v", 4096)
	var g errgroup.Group
	g.SetLimit(8)
	for i := range n {
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
