// Package e2e tests coordd as its users meet it: real processes, real sockets
// and disks, real faults, and only the official client. The checkers in it have
// tests of their own in which they must complain.
package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// program returns the path of an executable that the Makefile has built.
func program(t testing.TB, path string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		t.Fatalf("%v: run 'make build peers' first", err)
	}
	return abs
}

// startCluster runs a cluster of coordd processes until the test ends. Their
// logs are shown where the test fails.
func startCluster(t testing.TB, size int, flags ...string) *cluster.Cluster {
	t.Helper()
	return startSpec(t, cluster.Spec{Size: size, Flags: flags})
}

// startSpec is startCluster with more to say: what spec leaves empty is filled in.
func startSpec(t testing.TB, spec cluster.Spec) *cluster.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	spec.Program, spec.Dir = program(t, "bin/coordd"), t.TempDir()
	c, err := cluster.Start(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Kill()
		if !t.Failed() {
			return
		}
		for _, m := range c.Members {
			log, err := os.ReadFile(m.LogFile)
			t.Logf("log of %s (%v):\n%s", m.Name, err, tail(log, 4096))
		}
	})
	return c
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// newClient connects the official client to endpoints until the test ends.
func newClient(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// within bounds one step of a test.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
