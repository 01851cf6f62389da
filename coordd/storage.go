package coordd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/coordd/datadir"
	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/member"
	"github.com/coordd/coordd/coordd/peer"
	"github.com/coordd/coordd/coordd/snap"
	"github.com/coordd/coordd/coordd/wal"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
)

// hasRunTimeout bounds how long a new member asks the others whether it is new.
const hasRunTimeout = time.Second

// storage is a member's data directory, opened; package datadir says what is in it.
type storage struct {
	fs           disk.FS
	lock         io.Closer
	snaps        *snap.Dir
	store        *kvcore.Store
	defragmenter defragmenter

	log                 *wal.Log
	recovered           *wal.Recovered
	clusterID, memberID uint64
}

// openStorage opens the data directory, making it where there is none.
func openStorage(cfg *Config, peerTLS peer.ClientTLS) (opened *storage, err error) {
	s := &storage{fs: disk.OS()}
	defer func() {
		if err != nil {
			s.close() // what went wrong before says more
			opened = nil
		}
	}()
	if interrupted := cfg.layout().Restoring(); exists(interrupted) {
		return nil, fmt.Errorf("coordd: a restore into %s was interrupted: run it again, or remove %s to begin without the backup", cfg.dataDir(), interrupted)
	}
	root := cfg.layout().Member()
	if err := s.fs.MkdirAll(root); err != nil {
		return nil, fmt.Errorf("coordd: --data-dir %s: %w", cfg.dataDir(), err)
	}
	if s.lock, err = s.fs.Lock(cfg.layout().Lock()); errors.Is(err, disk.ErrLocked) {
		return nil, fmt.Errorf("coordd: data directory %s is in use by another process; stop that, or give another --data-dir", cfg.dataDir())
	} else if err != nil {
		return nil, fmt.Errorf("coordd: --data-dir %s: lock: %w", cfg.dataDir(), err)
	}
	if s.snaps, err = snap.Open(s.fs, cfg.snapDir()); err != nil {
		return nil, err
	}
	exists, err := wal.Exists(s.fs, cfg.walDir())
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := s.bootstrap(cfg, peerTLS); err != nil {
			return nil, err
		}
	}
	if err := s.recover(cfg); err != nil {
		return nil, err
	}
	if exists && cfg.ForceNewCluster {
		return s, s.force(cfg, peerTLS)
	}
	return s, s.checkOwner(cfg)
}

// checkOwner refuses the data of another member: two processes must never vote
// as one, and a copied directory is the way to that. Peer URLs may differ: they
// can be changed while a member is down.
func (s *storage) checkOwner(cfg *Config) error {
	if s.store.Removed(s.memberID) {
		return removedError(cfg, s.memberID)
	}
	members := s.store.Members()
	i := slices.IndexFunc(members, func(m *coordpb.Member) bool { return m.Id == s.memberID })
	if i < 0 {
		return fmt.Errorf("coordd: the store in %s has no record of its own member %x", cfg.snapDir(), s.memberID)
	}
	if own := members[i]; own.Name != "" && own.Name != cfg.Name {
		return fmt.Errorf("coordd: the data in %s are those of member %s at %s, the flags say %s: give that member's flags, or another --data-dir",
			cfg.dataDir(), own.Name, strings.Join(own.PeerUrls, ","), cfg.Name)
	}
	return nil
}

// bootstrap makes a new member's store and log. The log comes last: only with
// it the member exists, and a crash before it leaves a store that is made again.
func (s *storage) bootstrap(cfg *Config, peerTLS peer.ClientTLS) error {
	if err := s.checkNoStore(cfg); err != nil {
		return err
	}
	cluster, first, err := findCluster(cfg, peerTLS)
	if err != nil {
		return err
	}
	store, err := openStore(s.snaps.Store())
	if err != nil {
		return err
	}
	if first == (wal.Position{}) {
		err = store.Join(cluster.Members)
	} else {
		err = store.Bootstrap(first.Term, first.Index, cluster.ConfState(), cluster.Members)
	}
	if err := errors.Join(err, store.Close()); err != nil {
		return fmt.Errorf("coordd: make the store: %w", err)
	}
	return datadir.CreateLog(s.fs, cfg.walDir(), datadir.Identity{Cluster: cluster.ID, Member: cluster.Self}, first)
}

// findCluster returns the cluster of a new member and where its log begins: a
// member of a new cluster derives both, one that joins asks, and begins with nothing.
func findCluster(cfg *Config, peerTLS peer.ClientTLS) (*member.Cluster, wal.Position, error) {
	if cfg.InitialClusterState == "existing" {
		cluster, err := askToJoin(cfg, peerTLS)
		return cluster, wal.Position{}, err
	}
	cluster, err := member.Bootstrap(member.Config{
		Name:                     cfg.Name,
		InitialAdvertisePeerURLs: cfg.InitialAdvertisePeerURLs,
		InitialCluster:           cfg.initialCluster(),
		Token:                    cfg.InitialClusterToken,
	})
	if err != nil {
		return nil, wal.Position{}, err
	}
	return cluster, datadir.Beginning, checkNeverRun(cfg, peerTLS, cluster)
}

// checkNoStore refuses a store with data but without a log, and clears away one
// that a crash has left half made.
func (s *storage) checkNoStore(cfg *Config) error {
	store, err := backend.OpenBolt(s.snaps.Store())
	if err != nil {
		return err
	}
	used := isUsed(store)
	if err := store.Close(); err != nil {
		return fmt.Errorf("coordd: close the store: %w", err)
	}
	if used {
		return fmt.Errorf("coordd: there is a store with data in %s but no log in %s: bring the log's directory back, or give its place with --wal-dir; without its log a member has forgotten its votes and must not run", cfg.snapDir(), cfg.walDir())
	}
	if err := s.fs.Remove(s.snaps.Store()); err != nil {
		return fmt.Errorf("coordd: clear away a store that was never used: %w", err)
	}
	return nil
}

// isUsed says whether a store holds more than the first write of a new member: it
// has run, or is a restored one, perhaps of nothing but users.
func isUsed(b backend.Backend) bool {
	r := b.Reader()
	defer r.Release()
	applied, _ := r.Applied()
	used := applied > datadir.Beginning.Index
	for bucket := range backend.All() {
		switch bucket {
		case backend.Meta, backend.Members, backend.Cluster: // that is what it writes
			continue
		}
		r.Ascend(bucket, nil, nil, func(_, _ []byte) bool {
			used = true
			return false
		})
	}
	return used
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// checkNeverRun refuses to begin anew a member that the others remember: it has
// forgotten what it acknowledged, and with its vote the cluster could too.
func checkNeverRun(cfg *Config, peerTLS peer.ClientTLS, cluster *member.Cluster) error {
	ctx, cancel := context.WithTimeout(context.Background(), hasRunTimeout)
	defer cancel()
	witness, err := peer.HasRun(ctx, peerTLS, cluster.ID, cluster.Self, cluster.Members)
	if errors.Is(err, peer.ErrRemoved) {
		return removedError(cfg, cluster.Self)
	}
	if err != nil {
		return err
	}
	if witness != nil {
		return fmt.Errorf("coordd: member %x has run in this cluster before, says %s, but its data are not in this data directory: bring them back, or give their place with --data-dir; a member without its data must not vote",
			cluster.Self, witness.Name)
	}
	return nil
}

// recover opens the log and the store, and finishes the installation of a
// received store that a crash has interrupted.
func (s *storage) recover(cfg *Config) (err error) {
	if s.log, s.recovered, err = wal.Open(s.fs, cfg.walDir()); err != nil {
		return err
	}
	id, err := datadir.DecodeIdentity(s.recovered.Metadata)
	if err != nil {
		return fmt.Errorf("coordd: %w", err)
	}
	s.clusterID, s.memberID = id.Cluster, id.Member
	b, err := s.openBackend()
	if err != nil {
		return err
	}
	if s.store, err = newStore(b, s.snaps.Store()); err != nil {
		return err
	}
	return s.snaps.Clean()
}

func openStore(path string) (*kvcore.Store, error) {
	b, err := backend.OpenBolt(path)
	if err != nil {
		return nil, err
	}
	return newStore(b, path)
}

func newStore(b backend.Backend, path string) (*kvcore.Store, error) {
	store, err := kvcore.Open(b, kvcore.Defaults())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("coordd: store %s: %w", path, err), b.Close())
	}
	return store, nil
}

func (s *storage) close() error {
	s.defragmenter.hold() // for good
	var errs []error
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
