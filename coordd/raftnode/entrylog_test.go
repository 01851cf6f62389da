package raftnode

import (
	"sync"
	"testing"

	"github.com/coordd/coordd/coordd/wal"
	"go.etcd.io/raft/v3/raftpb"
)

// standing is a state machine that has come to entry 1.
type standing struct{ StateMachine }

func (standing) Applied() (index, term uint64) { return 1, 1 }

func (standing) ConfState() *raftpb.ConfState { return &raftpb.ConfState{Voters: []uint64{1}} }

// A flush that was under way when a received store replaced the log neither finds
// what is gone nor brings it back.
func TestFlushBesideRestart(t *testing.T) {
	var ents []*raftpb.Entry
	for i := range uint64(100) {
		ents = append(ents, &raftpb.Entry{Index: new(i + 2), Term: new(uint64(1))})
	}
	for range 3000 {
		l, err := newEntryLog(Config{
			StateMachine: standing{},
			Recovered:    &wal.Recovered{Snapshot: wal.Position{Index: 1, Term: 1}, Entries: ents},
		})
		if err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		both.Go(func() {
			l.flushedTo(50, standing{}.ConfState())
			if _, err := l.compact(50, 10, 1<<20); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			meta := &raftpb.SnapshotMetadata{Index: new(uint64(200)), Term: new(uint64(2)), ConfState: standing{}.ConfState()}
			if err := l.restart(&raftpb.Snapshot{Metadata: meta}); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		if got := l.snapshot.Load().GetMetadata().GetIndex(); got != 200 || t.Failed() {
			t.Fatalf("the log begins behind 200, what would be sent is of %d", got)
		}
	}
}
