// Package clients runs clients that others have written, in languages other than
// Go, unmodified against coordd.
package clients

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
)

func TestNodeEtcd3(t *testing.T) {
	load := exec.Command("node", "-e", "require('etcd3')")
	load.Dir = "node"
	if out, err := load.CombinedOutput(); err != nil {
		missing(t, "node cannot load the npm package etcd3: %v; 'make clients' fetches it\n%s", err, out)
	}
	run(t, "node", "node", "client.js")
}

func TestPythonEtcd3(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's own, for which python3-etcd3 is packaged
	if out, err := exec.Command(python, "-c", "import etcd3").CombinedOutput(); err != nil {
		missing(t, "%s cannot import etcd3: %v; 'make clients' says how to get it\n%s", python, err, out)
	}
	run(t, "python", python, "client.py")
}

// missing ends a test whose client is not installed: in CI it has to be.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func run(t *testing.T, dir, program, script string) {
	t.Helper()
	coordd, err := filepath.Abs("../../bin/coordd")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Spec{Program: coordd, Size: 1, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	cmd := exec.CommandContext(ctx, program, script)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "ENDPOINT="+c.Endpoints()[0])
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", program, script, err, out)
	}
}
