package wal

import (
	"path"
	"testing"

	"github.com/coordd/coordd/coordd/disk"
	"go.etcd.io/raft/v3/raftpb"
)

// BenchmarkSave saves and syncs 4 KiB on the machine's disk.
func BenchmarkSave(b *testing.B) {
	l, err := Create(disk.OS(), path.Join(b.TempDir(), "wal"), nil, Position{}, nil)
	must(b, err)
	e := entry(0, 1)
	e.Data = make([]byte, 4096)
	list := []*raftpb.Entry{e}
	hs := hardOf(1, 1, 0)
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		*e.Index++
		*hs.Commit = *e.Index - 1
		must(b, l.Save(hs, list, true))
	}
	must(b, l.Close())
}
