package raftnode

import (
	"fmt"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// entryLog is the stable log as raft reads it: what stands in the write-ahead
// log, held in memory back to the oldest entry that is kept for followers that
// lag. Appended to by logWriter, compacted by checkpointer, read by loop.
type entryLog struct {
	*raft.MemoryStorage
	snapshot atomic.Pointer[raftpb.Snapshot] // the state that would be sent: as of the last flush

	mu    sync.Mutex // also held by who makes the log begin later
	first uint64     // index of sizes[0]
	sizes []uint32   // bytes of each entry held
	bytes int        // their sum
}

// newEntryLog holds the recovered entries.
func newEntryLog(cfg Config) (*entryLog, error) {
	applied, appliedTerm := cfg.StateMachine.Applied()
	confState := cfg.StateMachine.ConfState()
	start := cfg.Recovered.Snapshot
	if start.Index > applied {
		return nil, fmt.Errorf("raftnode: the log begins behind entry %d but the store ends at %d: entries between are missing", start.Index, applied)
	}
	l := &entryLog{MemoryStorage: raft.NewMemoryStorage(), first: start.Index + 1}
	meta := raftpb.SnapshotMetadata{Index: &start.Index, Term: &start.Term, ConfState: confState}
	if err := l.ApplySnapshot(&raftpb.Snapshot{Metadata: &meta}); err != nil {
		return nil, fmt.Errorf("raftnode: start log at entry %d: %w", start.Index, err)
	}
	if err := l.append(cfg.Recovered.Entries); err != nil {
		return nil, err
	}
	last, err := l.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("raftnode: last log index: %w", err)
	}
	if last < applied {
		return nil, fmt.Errorf("raftnode: the log ends at entry %d but the store has applied %d: acknowledged entries are missing from the log", last, applied)
	}
	// A commit index is written with the next entries only, so the store may know more.
	hs := raftpb.HardState{Term: new(appliedTerm), Vote: new(uint64(0)), Commit: new(applied)}
	if stored := cfg.Recovered.HardState; !raft.IsEmptyHardState(stored) {
		if stored.GetTerm() >= appliedTerm {
			hs.Term, hs.Vote = stored.Term, stored.Vote
		}
		hs.Commit = new(min(max(stored.GetCommit(), applied), last))
	}
	if err := l.SetHardState(&hs); err != nil {
		return nil, fmt.Errorf("raftnode: restore hard state: %w", err)
	}
	l.setFlushed(applied, appliedTerm, confState)
	return l, nil
}

// Snapshot returns the position of the state that a follower would get. The
// state itself is opened when it is sent, and may be newer by then.
func (l *entryLog) Snapshot() (*raftpb.Snapshot, error) { return l.snapshot.Load(), nil }

// flushedTo says that the state is durable up to index. It does nothing where a
// received snapshot has replaced that meanwhile, and said so itself.
func (l *entryLog) flushedTo(index uint64, confState *raftpb.ConfState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term, err := l.Term(index); err == nil {
		l.setFlushed(index, term, confState)
	}
}

func (l *entryLog) setFlushed(index, term uint64, confState *raftpb.ConfState) {
	l.snapshot.Store(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: &term, ConfState: confState}})
}

// append adds entries that are durable now, replacing any from the first of
// them on.
func (l *entryLog) append(ents []*raftpb.Entry) error {
	if len(ents) == 0 {
		return nil
	}
	if err := l.Append(ents); err != nil {
		return fmt.Errorf("raftnode: append entry %d: %w", ents[0].GetIndex(), err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := int(ents[0].GetIndex() - l.first)
	for _, size := range l.sizes[keep:] {
		l.bytes -= int(size)
	}
	l.sizes = l.sizes[:keep]
	for _, e := range ents {
		size := proto.Size(e)
		l.sizes = append(l.sizes, uint32(size))
		l.bytes += size
	}
	return nil
}

// restart makes the log begin behind an installed snapshot.
func (l *entryLog) restart(snap *raftpb.Snapshot) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ApplySnapshot(snap); err != nil {
		return fmt.Errorf("raftnode: restart log at entry %d: %w", snap.GetMetadata().GetIndex(), err)
	}
	meta := snap.GetMetadata()
	l.setFlushed(meta.GetIndex(), meta.GetTerm(), meta.GetConfState())
	l.first, l.sizes, l.bytes = meta.GetIndex()+1, nil, 0
	return nil
}

// compact lets go of entries up to upTo at most, keeping the newest
// keepEntries of them or keepBytes, whichever is less. It waits until a quarter
// of the log would go, as what stays is copied. It returns the index up to
// which nothing is held any more.
func (l *entryLog) compact(upTo, keepEntries uint64, keepBytes int) (released uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	released = l.first - 1
	drop, bytes := 0, l.bytes
	for l.first+uint64(drop) <= upTo &&
		(uint64(len(l.sizes)-drop) > keepEntries || bytes > keepBytes) {
		bytes -= int(l.sizes[drop])
		drop++
	}
	if drop == 0 || drop < len(l.sizes)/4 {
		return released, nil
	}
	released += uint64(drop)
	if err := l.Compact(released); err != nil {
		return 0, fmt.Errorf("raftnode: compact log to entry %d: %w", released, err)
	}
	l.first, l.bytes = released+1, bytes
	l.sizes = append([]uint32(nil), l.sizes[drop:]...)
	return released, nil
}
