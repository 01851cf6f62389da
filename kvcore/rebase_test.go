package kvcore_test

import (
	"errors"
	"math"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/kvtest"
	"github.com/coordd/coordd/proto/coordpb"
)

// A record that no member could read is found before anything is changed.
func TestRebaseReadsEveryRecord(t *testing.T) {
	const revision = "\x00\x00\x00\x00\x00\x00\x00\x02_\x00\x00\x00\x00\x00\x00\x00\x00"
	for name, r := range map[string]struct{ key, value string }{
		"no record":               {revision, "\xff"},
		"without a key":           {revision, "\x10\x02\x20\x01\x30\x05"}, // created at 2, version 1, lease 5
		"tombstone without a key": {revision + "t", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := backend.NewMemory()
			defer b.Close()
			batch := b.Begin(7, 2)
			batch.Put(backend.Key, []byte(r.key), []byte(r.value))
			if err := b.Commit(batch); err != nil {
				t.Fatal(err)
			}
			if err := kvcore.Rebase(b, kvcore.Origin{Index: 1, Term: 1, ConfState: new(raftpb.ConfState)}); err == nil {
				t.Error("a record that is no record was taken")
			}
			if index, term := b.Applied(); index != 7 || term != 2 {
				t.Errorf("applied entry %d of term %d", index, term)
			}
			if _, err := kvcore.Open(b, kvcore.Defaults()); err == nil {
				t.Error("a store with it was opened")
			}
		})
	}
}

// An empty store can be moved up too: the mark is its only record.
func TestRebaseBumpsEmptyStore(t *testing.T) {
	b := backend.NewMemory()
	if err := kvcore.Rebase(b, kvcore.Origin{Index: 1, Term: 1, ConfState: new(raftpb.ConfState), BumpRevision: math.MaxInt64}); !errors.Is(err, kvcore.ErrBumpTooLarge) {
		t.Errorf("a bump to the last revision there is: %v", err)
	}
	if err := kvcore.Rebase(b, kvcore.Origin{Index: 1, Term: 1, ConfState: new(raftpb.ConfState), BumpRevision: 100}); err != nil {
		t.Fatal(err)
	}
	s, err := kvcore.Open(b, kvcore.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	results := s.Apply(2, 1, []proto.Message{&pb.PutRequest{Key: []byte("k")}})
	if err := results[0].Err; err != nil {
		t.Fatal(err)
	}
	if s.Revision() != 101 {
		t.Errorf("revision %d after a put, want 101", s.Revision())
	}
	all, err := s.Range(t.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil || all.Count != 1 || len(all.Kvs) != 1 {
		t.Errorf("all keys: %v, %v", all, err)
	}
}

// What a forced new cluster has refused is over with its log: the places of the
// new log are others.
func TestRebaseForgetsForce(t *testing.T) {
	b := backend.NewMemory()
	old, err := kvcore.Open(b, kvcore.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	self := &coordpb.Member{Id: 7, Name: "a"}
	if err := old.Bootstrap(1, 1, &raftpb.ConfState{Voters: []uint64{7}}, []*coordpb.Member{self}); err != nil {
		t.Fatal(err)
	}
	if err := old.Force(self, 5000); err != nil {
		t.Fatal(err)
	}
	if b, err = kvtest.CrashMemory(old); err != nil {
		t.Fatal(err)
	}
	if err := kvcore.Rebase(b, kvcore.Origin{Index: 1, Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{8}}, Members: []*coordpb.Member{{Id: 8}}}); err != nil {
		t.Fatal(err)
	}
	s, err := kvcore.Open(b, kvcore.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CheckMembership(2, &coordpb.MemberAddRequest{Member: &coordpb.Member{Id: 9}}); err != nil {
		t.Errorf("adding a member to the restored cluster: %v", err)
	}
}
