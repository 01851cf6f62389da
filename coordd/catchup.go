package coordd

import (
	"context"
	"io"

	"github.com/coordd/coordd/coordd/peer"
	"github.com/coordd/coordd/kvcore"
	"go.etcd.io/raft/v3/raftpb"
)

// openSnapshot opens the newest durable state for a follower.
func (s *Server) openSnapshot() (peer.Snapshot, error) {
	if s.storage.store.Corrupt(s.storage.memberID) {
		return peer.Snapshot{}, errDamaged
	}
	snapshot, err := s.storage.store.Snapshot()
	if err != nil {
		return peer.Snapshot{}, err
	}
	size, _ := s.storage.store.Size()
	return peer.Snapshot{
		Index:     snapshot.Index,
		Term:      snapshot.Term,
		ConfState: snapshot.ConfState,
		Bytes:     size,
		WriteTo:   snapshot.WriteTo,
		Delta: func(h kvcore.Held) *peer.Delta {
			delta, ok := snapshot.Delta(h)
			if !ok {
				return nil
			}
			return &peer.Delta{Revisions: delta.Revisions, WriteTo: delta.WriteTo}
		},
		Close: snapshot.Close,
	}, nil
}

// held says what this member's store holds durably.
func (s *Server) held() (kvcore.Held, error) {
	snapshot, err := s.storage.store.Snapshot()
	if err != nil {
		return kvcore.Held{}, err
	}
	defer snapshot.Close()
	return snapshot.Held(), nil
}

func (s *Server) stepSnapshot(_ context.Context, m *raftpb.Message) (wanted bool, err error) {
	return s.node.StepSnapshot(m)
}

var _ io.WriterTo = kvcore.Delta{}
