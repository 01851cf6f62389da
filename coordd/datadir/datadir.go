// Package datadir says where things are in a member's data directory, and how a
// member's log begins.
//
//	<data-dir>/member/lock            held while the member runs
//	<data-dir>/member/wal/            the log, or in a directory of its own
//	<data-dir>/member/snap/db         the store, behind the log by up to a flush
//	<data-dir>/member/snap/*.snap.db  a store received from the leader
//	<data-dir>/member/snap/*.delta    the same, but only what the store lacks
//	<data-dir>/member.restoring/      what becomes member/ once a restore is whole
package datadir

import (
	"encoding/binary"
	"fmt"
	"path/filepath"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/wal"
)

// Layout is a member's directories.
type Layout struct {
	Data string // --data-dir
	WAL  string // --wal-dir; empty: within Data
}

// Member is the directory that exists once the member does.
func (l Layout) Member() string { return filepath.Join(l.Data, "member") }

// Restoring is where a restore builds Member.
func (l Layout) Restoring() string { return filepath.Join(l.Data, "member.restoring") }

// Lock is the file that is locked while the member runs.
func (l Layout) Lock() string { return LockIn(l.Member()) }

// Snap is the directory of the store and of received stores.
func (l Layout) Snap() string { return filepath.Join(l.Member(), "snap") }

// Store is the file of the store.
func (l Layout) Store() string { return StoreIn(l.Member()) }

// Log is the directory of the log.
func (l Layout) Log() string {
	if l.WAL != "" {
		return l.WAL
	}
	return LogIn(l.Member())
}

// LockIn, StoreIn and LogIn are Lock, Store and Log for another Member.
func LockIn(member string) string  { return filepath.Join(member, "lock") }
func StoreIn(member string) string { return filepath.Join(member, "snap", "db") }
func LogIn(member string) string   { return filepath.Join(member, "wal") }

// Beginning is where every new cluster's log begins: behind the state that all
// members derive alike from their flags, or from a backup.
var Beginning = wal.Position{Index: 1, Term: 1}

// CreateLog makes the log of a new member in dir, behind first: Beginning where
// the cluster is new too, and nothing where the member joins one. It is durable
// when CreateLog returns.
func CreateLog(fs disk.FS, dir string, id Identity, first wal.Position) error {
	log, err := wal.Create(fs, dir, id.Encode(), first,
		&raftpb.HardState{Term: &first.Term, Vote: new(raft.None), Commit: &first.Index})
	if err != nil {
		return err
	}
	return log.Close()
}

// Identity is whose log it is: what the log's metadata hold.
type Identity struct{ Cluster, Member uint64 }

// Encode is the opposite of DecodeIdentity.
func (id Identity) Encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, id.Cluster), id.Member)
}

// DecodeIdentity reads the metadata of a log.
func DecodeIdentity(b []byte) (Identity, error) {
	if len(b) != 16 {
		return Identity{}, fmt.Errorf("datadir: the log's metadata are of %d bytes, not 16: it is no log of coordd", len(b))
	}
	return Identity{Cluster: binary.BigEndian.Uint64(b), Member: binary.BigEndian.Uint64(b[8:])}, nil
}
