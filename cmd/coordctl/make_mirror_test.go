package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestMakeMirror: what was there before is copied, then each change, under the destination's prefix.
func TestMakeMirror(t *testing.T) {
	t.Parallel()
	source, _, from := locker(t)
	_, _, to := locker(t)
	for i := range 300 {
		if _, err := from.Put(t.Context(), fmt.Sprintf("p/%03d", i), strings.Repeat("x", 4<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := from.Put(t.Context(), "other", "not copied"); err != nil {
		t.Fatal(err)
	}
	m := source.start(t, "make-mirror", "--prefix", "p/", "--dest-prefix", "q/", to.Endpoints()[0])
	awaitKeys(t, to, "q/", 300)

	// One transaction there is one here.
	_, err := from.Txn(t.Context()).Then(
		clientv3.OpPut("p/new", "1"), clientv3.OpPut("p/000", "changed"), clientv3.OpDelete("p/001"), clientv3.OpDelete("p/002"),
	).Commit()
	if err != nil {
		t.Fatal(err)
	}
	awaitKeys(t, to, "q/", 299)
	resp, err := to.Get(t.Context(), "q/new")
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("%v, %v", resp, err)
	}
	changed, err := to.Get(t.Context(), "q/000")
	if err != nil || len(changed.Kvs) != 1 || string(changed.Kvs[0].GetValue()) != "changed" {
		t.Fatalf("%v, %v", changed, err)
	}
	if a, b := resp.Kvs[0].GetModRevision(), changed.Kvs[0].GetModRevision(); a != b {
		t.Errorf("one transaction became the revisions %d and %d", a, b)
	}
	if all, err := to.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithCountOnly()); err != nil || all.Count != 299 {
		t.Errorf("%d keys in all, %v", all.Count, err)
	}
	m.Process.Signal(os.Interrupt)
	if code := m.end(t); code != 0 {
		t.Errorf("exit code %d: %s", code, m.stderr.String())
	}
}

// TestMakeMirrorFromRevision: with --rev only the changes since then, under the same prefix.
func TestMakeMirrorFromRevision(t *testing.T) {
	t.Parallel()
	source, _, from := locker(t)
	_, _, to := locker(t)
	for _, key := range []string{"p/1", "p/2", "p/3"} {
		if _, err := from.Put(t.Context(), key, ""); err != nil {
			t.Fatal(err)
		}
	}
	source.start(t, "make-mirror", "--prefix", "p/", "--rev", "3", to.Endpoints()[0])
	awaitKeys(t, to, "p/", 2)
	if resp, err := to.Get(t.Context(), "p/1"); err != nil || len(resp.Kvs) != 0 {
		t.Errorf("%v, %v", resp, err)
	}
}
