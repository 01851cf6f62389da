package slots

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/e2e/cluster"
)

// etcd is the program that make peers builds.
const etcd = "../../e2e/peers/bin/etcd"

// onEachStore runs a test on coordd and on etcd, which must be there where CI says so.
func onEachStore(t *testing.T, test func(t *testing.T, endpoint string)) {
	t.Run("coordd", func(t *testing.T) { test(t, coorddtest.Start(t)) })
	t.Run("etcd", func(t *testing.T) { test(t, startEtcd(t)) })
}

func startEtcd(t *testing.T) (endpoint string) {
	t.Helper()
	if _, err := os.Stat(etcd); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v: run make peers", err)
		}
		t.Skipf("%v: run make peers", err)
	}
	dir, err := os.MkdirTemp("", "slots-test-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Spec{Program: etcd, Size: 1, Dir: dir})
	if err != nil {
		t.Fatal(errors.Join(err, os.RemoveAll(dir)))
	}
	t.Cleanup(func() { c.Kill(); os.RemoveAll(dir) })
	return c.Members[0].ClientURL
}
