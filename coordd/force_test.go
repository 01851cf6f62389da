package coordd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/wal"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// freeURL names a port of loopback that nothing listens on at this moment.
func freeURL(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// oneOfThree is a member of a cluster whose other members are nowhere.
func oneOfThree(t *testing.T) Config {
	t.Helper()
	cfg := Defaults()
	cfg.Name, cfg.DataDir = "a", t.TempDir()
	cfg.ListenClientURLs = []string{"http://127.0.0.1:0"}
	cfg.AdvertiseClientURLs = cfg.ListenClientURLs
	cfg.ListenPeerURLs = []string{freeURL(t)}
	cfg.InitialAdvertisePeerURLs = cfg.ListenPeerURLs
	cfg.InitialCluster = "a=" + cfg.ListenPeerURLs[0] + ",b=http://127.0.0.1:1,c=http://127.0.0.1:2"
	return cfg
}

// TestForcedMemberKeepsItsLog: entries that the store has not seen yet are
// applied, those that change members are void.
func TestForcedMemberKeepsItsLog(t *testing.T) {
	cfg := oneOfThree(t)
	s, err := openStorage(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	appendToLog(t, &cfg, raftpb.EntryNormal, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")})
	appendToLog(t, &cfg, raftpb.EntryConfChange, &coordpb.MemberAddRequest{Member: &coordpb.Member{Id: 9, PeerUrls: []string{"http://127.0.0.1:3"}}})
	appendToLog(t, &cfg, raftpb.EntryNormal, &pb.PutRequest{Key: []byte("k"), Value: []byte("w")})

	cfg.ForceNewCluster = true
	server, err := Start(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	select {
	case <-server.Ready():
	case <-time.After(time.Minute):
		t.Fatal("the forced member does not lead")
	}
	store := server.storage.store
	if epoch, err := store.Range(context.Background(), &pb.RangeRequest{Key: []byte(kvcore.EpochKey)}); err != nil || epoch.Count != 1 || store.EpochDue() {
		t.Errorf("epoch %v, %v, due %t: want it raised", epoch, err, store.EpochDue())
	}
	members := store.Members()
	if len(members) != 1 || members[0].Id != server.storage.memberID {
		t.Errorf("members %v, want this one alone", members)
	}
	if voters := store.ConfState().GetVoters(); len(voters) != 1 {
		t.Errorf("voters %x, want this one alone", voters)
	}
	got, err := store.Range(context.Background(), &pb.RangeRequest{Key: []byte("k")})
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "w" {
		t.Errorf("read %v, %v: want what the log holds", got, err)
	}
}

// appendToLog adds an entry to a member's log that it has not applied.
func appendToLog(t *testing.T, cfg *Config, kind raftpb.EntryType, req proto.Message) {
	t.Helper()
	log, recovered, err := wal.Open(disk.OS(), cfg.walDir())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	data, err := coordpb.AppendBatch(nil, 1, 1, []proto.Message{req})
	if err != nil {
		t.Fatal(err)
	}
	if add, ok := req.(*coordpb.MemberAddRequest); ok {
		change := &raftpb.ConfChange{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: new(add.Member.Id), Context: data}
		if data, err = proto.Marshal(change); err != nil {
			t.Fatal(err)
		}
	}
	index := recovered.Snapshot.Index + uint64(len(recovered.Entries)) + 1
	entry := &raftpb.Entry{Type: kind.Enum(), Index: new(index), Term: new(uint64(2)), Data: data}
	hard := &raftpb.HardState{Term: new(uint64(2)), Vote: new(uint64(0)), Commit: new(uint64(1))}
	if err := log.Save(hard, []*raftpb.Entry{entry}, true); err != nil {
		t.Fatal(err)
	}
}

// A member that was stopped between making its store and its log begins again.
func TestHalfMadeStoreIsMadeAgain(t *testing.T) {
	cfg := oneOfThree(t)
	for range 2 {
		s, err := openStorage(&cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(s.store.Members()); got != 3 {
			t.Errorf("%d members, want 3", got)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		if err := disk.OS().Remove(firstSegment(t, &cfg)); err != nil {
			t.Fatal(err)
		}
	}
}

// A restored store without its log is not taken for a half made one, though it
// holds no keys and nothing was applied to it.
func TestRestoredUsersAreNotClearedAway(t *testing.T) {
	cfg := oneOfThree(t)
	s, err := openStorage(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	b, err := backend.OpenBolt(cfg.layout().Store())
	if err != nil {
		t.Fatal(err)
	}
	batch := b.Begin(0, 0)
	batch.Put(backend.AuthUsers, []byte("alice"), []byte("\x0a\x05alice"))
	if err := errors.Join(b.Commit(batch), b.Close(), disk.OS().Remove(firstSegment(t, &cfg))); err != nil {
		t.Fatal(err)
	}
	if _, err := openStorage(&cfg, nil); err == nil || !strings.Contains(err.Error(), "no log") {
		t.Errorf("a store with users and no log: %v", err)
	}
}

func firstSegment(t *testing.T, cfg *Config) string {
	t.Helper()
	names, err := disk.OS().List(cfg.walDir())
	if err != nil || len(names) == 0 {
		t.Fatalf("segments %v, %v", names, err)
	}
	return cfg.walDir() + "/" + names[0]
}
