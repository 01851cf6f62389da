package peer

import (
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func FuzzDecodeMessage(f *testing.F) {
	seed, err := proto.Marshal(&raftpb.Message{
		Type: new(raftpb.MsgApp), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(3)),
		Entries: []*raftpb.Entry{{Index: new(uint64(1)), Term: new(uint64(3))}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	snapshot, err := proto.Marshal(&raftpb.Message{
		Type: new(raftpb.MsgSnap), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(3)),
		Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
			Index: new(uint64(4)), Term: new(uint64(3)), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}},
		}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(snapshot)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMessage(data, 1, 2)
		if err != nil {
			return
		}
		if m.GetTo() != 2 || m.GetFrom() == raft.None || raft.IsLocalMsg(m.GetType()) {
			t.Errorf("accepted %v", m)
		}
		if len(m.GetEntries()) > maxEntries || len(m.GetEntries()) > len(data) {
			t.Errorf("accepted %d entries in %d bytes", len(m.GetEntries()), len(data))
		}
	})
}
