// Package conformance holds coordd to etcd: the same calls are made to both, and
// every answer, code and error text must be the same. The bodies are written from
// the API's definition, not from either server's code. What they exercise is
// what docs/WIRE.md lists: its tables are made from a run, and the test fails where
// they differ from it. What differs on purpose stands there too, and is left out here.
package conformance

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
)

// group is bodies that share one pair of clusters and run one after another on each.
type group struct {
	name   string
	size   int      // members of each cluster
	flags  []string // of every member
	bodies []body
}

// body is calls whose answers must not depend on which server gives them.
type body struct {
	name string
	run  func(r *rig)
}

func TestConformance(t *testing.T) {
	seen := newCoverage()
	ran := 0
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			ran++
			g.run(t, seen)
		})
	}
	if ran == len(groups) && !t.Failed() {
		t.Run("WIRE.md", func(t *testing.T) { checkWire(t, seen) })
	}
}

func (g *group) run(t *testing.T, seen *coverage) {
	etcd := startServers(t, "e2e/peers/bin/etcd", g)
	coordd := startServers(t, "bin/coordd", g)
	newRig(t, etcd, nil).settle()
	newRig(t, coordd, nil).settle()
	for _, b := range g.bodies {
		t.Run(b.name, func(t *testing.T) {
			want := play(t, etcd, b, nil)
			got := play(t, coordd, b, seen)
			if diff := want.diff(got); diff != "" {
				t.Errorf("etcd (-) and coordd (+) answer differently:\n%s", diff)
			}
		})
		if t.Failed() {
			return // what follows stands on revisions and keys that may differ now
		}
	}
}

// startServers runs a cluster of one of the two programs until the test ends.
func startServers(t *testing.T, program string, g *group) *cluster.Cluster {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", program))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Spec{Program: path, Size: max(g.size, 1), Dir: t.TempDir(), Flags: g.flags})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Kill()
		for _, m := range c.Members {
			if log, err := os.ReadFile(m.LogFile); t.Failed() && err == nil {
				t.Logf("log of %s %s:\n%s", program, m.Name, log[max(0, len(log)-2048):])
			}
		}
	})
	return c
}

// play runs a body on one cluster and returns what it saw.
func play(t *testing.T, c *cluster.Cluster, b body, seen *coverage) *transcript {
	t.Helper()
	r := newRig(t, c, seen)
	b.run(r)
	return r.transcript
}

// A difference must be found, or no comparison here means anything.
func TestDifferencesAreFound(t *testing.T) {
	a, b := new(transcript), new(transcript)
	a.add("KV/Put → revision:2")
	b.add("KV/Put → revision:3")
	if a.diff(b) == "" {
		t.Error("transcripts that differ are taken for equal")
	}
	if diff := a.diff(a); diff != "" {
		t.Errorf("a transcript differs from itself: %s", diff)
	}
}
