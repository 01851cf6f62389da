package datadir_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/coordd/coordd/coordd/datadir"
	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/wal"
)

func TestIdentity(t *testing.T) {
	id := datadir.Identity{Cluster: 1 << 63, Member: 7}
	if got, err := datadir.DecodeIdentity(id.Encode()); err != nil || got != id {
		t.Errorf("%v became %v, %v", id, got, err)
	}
	if _, err := datadir.DecodeIdentity([]byte("etcd's")); err == nil {
		t.Error("6 bytes were taken for an identity")
	}
}

func TestCreateLog(t *testing.T) {
	layout := datadir.Layout{Data: t.TempDir()}
	id := datadir.Identity{Cluster: 1, Member: 2}
	if err := datadir.CreateLog(disk.OS(), layout.Log(), id, datadir.Beginning); err != nil {
		t.Fatal(err)
	}
	log, recovered, err := wal.Open(disk.OS(), layout.Log())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if got, err := datadir.DecodeIdentity(recovered.Metadata); got != id || err != nil {
		t.Errorf("the log is of %v, %v", got, err)
	}
	if recovered.Snapshot != datadir.Beginning || recovered.HardState.GetCommit() != datadir.Beginning.Index {
		t.Errorf("it begins at %v with %v", recovered.Snapshot, recovered.HardState)
	}
}

func TestLockForReading(t *testing.T) {
	layout := datadir.Layout{Data: t.TempDir()}
	copied, err := layout.LockForReading()
	if err != nil {
		t.Fatalf("a directory without a lock: %v", err)
	}
	if err := errors.Join(copied.Close(), os.MkdirAll(filepath.Dir(layout.Lock()), 0o700)); err != nil {
		t.Fatal(err)
	}
	running, err := disk.OS().Lock(layout.Lock())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layout.LockForReading(); !errors.Is(err, datadir.ErrRunning) {
		t.Errorf("while the member runs: %v", err)
	}
	if err := running.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		reading, err := layout.LockForReading()
		if err != nil {
			t.Fatal(err)
		}
		defer reading.Close()
	}
	if _, err := disk.OS().Lock(layout.Lock()); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("the member starts while its directory is read: %v", err)
	}
}
