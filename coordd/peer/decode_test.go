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
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMessage(data, 1, 2)
		if err != nil {
			return
		}
		if m.GetTo() != 2 || m.GetFrom() == raft.None || raft.IsLocalMsg(m.GetType()) {
			t.Errorf("accepted %v", m)
		}
	})
}
