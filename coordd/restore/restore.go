// Package restore turns a backup, coordd's or etcd's, into the data directory of
// a member of a new cluster, and tells what a backup holds.
//
// A backup is a bbolt file in etcd's layout with the SHA-256 of the file behind
// it: what `coordctl snapshot save` and `etcdctl snapshot save` write.
package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coordd/coordd/coordd/datadir"
	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/member"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
)

var (
	// ErrNotEmpty says that there is something in a directory that a restore is to fill.
	ErrNotEmpty = errors.New("restore: directory is not empty")
	// ErrNoChecksum says that no checksum is at the end of the backup.
	ErrNoChecksum = errors.New("restore: the backup has no checksum at its end")
	// ErrChecksum says that the backup is not what was saved.
	ErrChecksum = errors.New("restore: the backup is damaged: its checksum is wrong")
	// ErrRunning says that another restore is at work.
	ErrRunning = errors.New("restore: another restore into this directory is running")
)

// Config says what to restore, and for which member of which new cluster. All
// fields but the last three are those of coordd's flags.
type Config struct {
	Name                     string
	DataDir                  string // made if missing; must be empty
	WALDir                   string // as DataDir; empty: within it
	InitialAdvertisePeerURLs []string
	InitialCluster           string
	InitialClusterToken      string

	Snapshot      string // the backup's file
	SkipHashCheck bool   // take a file without a checksum, or with a wrong one
	BumpRevision  uint64 // see kvcore.Origin
}

// Restore makes the data directory. It is durable on return; before, and after a
// crash at any moment, coordd refuses to start on it. The backup is read as a
// stream: memory does not grow with it. [ErrNotEmpty], [ErrNoChecksum],
// [ErrChecksum], [ErrRunning], what [member.Bootstrap] and [backend.OpenBolt]
// fail with, [kvcore.ErrBumpTooLarge].
func Restore(cfg Config) (err error) {
	cluster, err := member.Bootstrap(member.Config{
		Name:                     cfg.Name,
		InitialAdvertisePeerURLs: cfg.InitialAdvertisePeerURLs,
		InitialCluster:           cfg.InitialCluster,
		Token:                    cfg.InitialClusterToken,
	})
	if err != nil {
		return err
	}
	layout := datadir.Layout{Data: cfg.DataDir, WAL: cfg.WALDir}
	if err := checkEmpty(layout); err != nil {
		return err
	}
	fsys, building := disk.OS(), layout.Restoring()
	if err := fsys.MkdirAll(building); err != nil {
		return fmt.Errorf("restore: make %s: %w", building, err)
	}
	lock, err := fsys.Lock(datadir.LockIn(building)) // it becomes the member's
	if errors.Is(err, disk.ErrLocked) {
		return fmt.Errorf("%w: %s", ErrRunning, building)
	} else if err != nil {
		return fmt.Errorf("restore: lock %s: %w", building, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := build(fsys, cfg, layout, cluster); err != nil {
		return errors.Join(err, os.RemoveAll(building))
	}
	if err := fsys.Rename(building, layout.Member()); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := fsys.SyncDir(layout.Data); err != nil {
		return fmt.Errorf("restore: sync %s: %w", layout.Data, err)
	}
	return nil
}

// build makes the store and then the log. A log outside of the directory under
// construction comes last, and alone does not start either.
func build(fsys disk.FS, cfg Config, layout datadir.Layout, cluster *member.Cluster) error {
	store, log := datadir.StoreIn(layout.Restoring()), datadir.LogIn(layout.Restoring())
	for _, left := range []string{filepath.Dir(store), log} { // by a restore that was interrupted
		if err := os.RemoveAll(left); err != nil {
			return fmt.Errorf("restore: remove what an interrupted restore has left: %w", err)
		}
	}
	if err := fsys.MkdirAll(filepath.Dir(store)); err != nil {
		return fmt.Errorf("restore: make %s: %w", filepath.Dir(store), err)
	}
	if err := copyStore(fsys, cfg.Snapshot, store, cfg.SkipHashCheck); err != nil {
		return err
	}
	if err := rebase(store, cfg, cluster); err != nil {
		return err
	}
	if cfg.WALDir != "" {
		log = cfg.WALDir
	}
	return datadir.CreateLog(fsys, log, datadir.Identity{Cluster: cluster.ID, Member: cluster.Self}, datadir.Beginning)
}

func rebase(store string, cfg Config, cluster *member.Cluster) error {
	b, err := backend.OpenBolt(store)
	if err != nil {
		return fmt.Errorf("restore: the backup %s cannot be read: %w", cfg.Snapshot, err)
	}
	return errors.Join(kvcore.Rebase(b, kvcore.Origin{
		Index:        datadir.Beginning.Index,
		Term:         datadir.Beginning.Term,
		ConfState:    cluster.ConfState(),
		Members:      cluster.Members,
		BumpRevision: cfg.BumpRevision,
	}), b.Close())
}

// checkEmpty refuses directories that hold anything but an interrupted restore.
func checkEmpty(layout datadir.Layout) error {
	for _, dir := range []string{layout.Data, layout.WAL} {
		if dir == "" {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("restore: %w", err)
		}
		for _, e := range entries {
			if filepath.Join(dir, e.Name()) != layout.Restoring() {
				return fmt.Errorf("%w: %s holds %s: give an empty or a new one, or move what is there away", ErrNotEmpty, dir, e.Name())
			}
		}
	}
	return nil
}
