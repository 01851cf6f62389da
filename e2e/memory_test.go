package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coordd/coordd/e2e/cluster"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// discard is a codec that drops what it receives: twenty clients that keep their
// answers would take more memory than the server.
type discard struct{}

func (discard) Name() string { return "proto" }

func (discard) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*int) = data.Len()
	return nil
}

func (discard) Marshal(v any) (mem.BufferSlice, error) {
	data, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(data)}, err
}

// TestLargeRangesStayWithinMemory: many clients that read everything at once make
// the server hold a few answers, not all.
func TestLargeRangesStayWithinMemory(t *testing.T) {
	const clients = 20
	keys := 1_000_000
	if testing.Short() {
		keys = 100_000
	}
	c := startCluster(t, 1)
	m := c.Members[0]
	fillSmall(t, newClient(t, m.ClientURL), keys)
	before := peakMemory(t, m)
	var g errgroup.Group
	var answer atomic.Int64
	for range clients {
		conn, err := grpc.NewClient(strings.TrimPrefix(m.ClientURL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(discard{}), grpc.MaxCallRecvMsgSize(1<<30)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		g.Go(func() error {
			var size int
			if err := conn.Invoke(t.Context(), pb.KV_Range_FullMethodName, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, &size); err != nil {
				return err
			}
			if size < keys*256 {
				return fmt.Errorf("an answer of %d bytes", size)
			}
			answer.Store(int64(size))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	// What is being sent, and one answer that is being built: that takes three times
	// its size on the wire, and there is as much garbage beside all of it.
	bound := 256<<20 + 10*answer.Load()
	after := peakMemory(t, m)
	t.Logf("answers of %d MiB: at most %d MiB before, %d MiB with %d clients", answer.Load()>>20, before>>20, after>>20, clients)
	if after-before > bound {
		t.Errorf("%d clients made the server take %d MiB more, want at most %d", clients, (after-before)>>20, bound>>20)
	}
}

// fillSmall writes n keys of 256 bytes, many to a transaction.
func fillSmall(t *testing.T, client *clientv3.Client, n int) {
	t.Helper()
	value := strings.Repeat("v", 256)
	var g errgroup.Group
	g.SetLimit(8)
	for first := 0; first < n; first += 100 {
		g.Go(func() error {
			var ops []clientv3.Op
			for i := first; i < min(n, first+100); i++ {
				ops = append(ops, clientv3.OpPut(fmt.Sprintf("small/%08d", i), value))
			}
			_, err := client.Txn(t.Context()).Then(ops...).Commit()
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// peakMemory returns the most bytes of memory that a member has taken so far.
func peakMemory(t *testing.T, m *cluster.Member) (bytes int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	t.Fatal("the system does not say how much memory a process takes")
	return 0
}
