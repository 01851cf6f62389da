package e2e

import (
	"context"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sync/errgroup"
)

// TestConcurrencyPackageExcludes runs etcd's own lock library on coordd.
func TestConcurrencyPackageExcludes(t *testing.T) {
	c := startCluster(t, 1)
	var inside, entered atomic.Int64
	var g errgroup.Group
	for range 4 {
		client := newClient(t, c.Endpoints()...)
		g.Go(func() error {
			session, err := concurrency.NewSession(client)
			if err != nil {
				return err
			}
			defer session.Close()
			mutex := concurrency.NewMutex(session, "lock")
			for range 50 {
				if err := mutex.Lock(t.Context()); err != nil {
					return err
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				entered.Add(1)
				inside.Add(-1)
				if err := mutex.Unlock(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if entered.Load() != 200 {
		t.Errorf("entered %d times, want 200", entered.Load())
	}
}

// TestConcurrencyElection runs etcd's own election on coordd.
func TestConcurrencyElection(t *testing.T) {
	c := startCluster(t, 1)
	ctx := within(t, 30*time.Second)
	elections := make([]*concurrency.Election, 2)
	for i := range elections {
		session, err := concurrency.NewSession(newClient(t, c.Endpoints()...))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { session.Close() })
		elections[i] = concurrency.NewElection(session, "election")
	}
	if err := elections[0].Campaign(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() { second <- elections[1].Campaign(ctx, "second") }()
	leader, err := elections[1].Leader(ctx)
	if err != nil || string(leader.Kvs[0].Value) != "first" {
		t.Fatalf("leader = %v, %v", leader, err)
	}
	select {
	case err := <-second:
		t.Fatalf("the second was elected beside the first: %v", err)
	default:
	}
	if err := elections[0].Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
}

// etcdctl runs the real etcdctl.
func etcdctl(t *testing.T, ctx context.Context, endpoint string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(ctx, program(t, "e2e/peers/bin/etcdctl"), append([]string{"--endpoints", endpoint}, args...)...)
}

func TestEtcdctlWorksUnmodified(t *testing.T) {
	c := startCluster(t, 1)
	ctx := within(t, time.Minute)
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"put", "k", "v"}, "OK\n"},
		{[]string{"get", "k"}, "k\nv\n"},
		{[]string{"del", "k"}, "1\n"},
		{[]string{"get", "k"}, ""},
		{[]string{"lease", "list"}, "found 0 leases\n"},
		{[]string{"lock", "l", "echo", "in"}, "in\n"},
		{[]string{"endpoint", "health"}, "is healthy"},
		{[]string{"member", "list"}, "started"},
		{[]string{"endpoint", "status"}, "3.7"},
		{[]string{"compaction", "2"}, "compacted revision 2\n"},
	} {
		out, err := etcdctl(t, ctx, c.Members[0].ClientURL, step.args...).Output()
		if err != nil {
			t.Errorf("etcdctl %s: %v", strings.Join(step.args, " "), err)
		}
		if !strings.Contains(string(out), step.want) || step.want == "" && strings.TrimSpace(string(out)) != "" {
			t.Errorf("etcdctl %s printed %q, want %q", strings.Join(step.args, " "), out, step.want)
		}
	}
}

// TestEtcdctlLockAndElectHandOver holds a lock and a leadership in one process
// each and lets a second one have them when the first ends.
func TestEtcdctlLockAndElectHandOver(t *testing.T) {
	c := startCluster(t, 1)
	client := newClient(t, c.Endpoints()...)
	for _, args := range [][]string{{"lock", "held"}, {"elect", "held", "candidate"}} {
		t.Run(args[0], func(t *testing.T) {
			ctx := within(t, time.Minute)
			prefix := args[1] + "/"
			first := etcdctl(t, ctx, c.Members[0].ClientURL, args...)
			second := etcdctl(t, ctx, c.Members[0].ClientURL, args...)
			for n, cmd := range []*exec.Cmd{first, second} {
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				awaitKeys(t, client, prefix, n+1)
			}
			first.Process.Signal(interrupt)
			if err := first.Wait(); err != nil {
				t.Logf("the first ended: %v", err)
			}
			awaitKeys(t, client, prefix, 1)
			second.Process.Signal(interrupt)
			second.Wait()
			awaitKeys(t, client, prefix, 0)
		})
	}
}

// awaitKeys waits until there are n keys under prefix.
func awaitKeys(t *testing.T, client *clientv3.Client, prefix string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	changes := client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(got.Header.Revision+1))
	for count := int(got.Count); count != n; {
		resp, ok := <-changes
		if !ok || resp.Err() != nil {
			t.Fatalf("%d keys under %s, want %d: %v", count, prefix, n, resp.Err())
		}
		for _, ev := range resp.Events {
			switch {
			case ev.IsCreate():
				count++
			case ev.Type == clientv3.EventTypeDelete:
				count--
			}
		}
	}
}
