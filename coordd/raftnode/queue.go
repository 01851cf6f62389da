package raftnode

import (
	"context"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// maxPeerMessages bounds messages from peers that wait for the loop.
const maxPeerMessages = 8192

// inbox gathers what others want the loop to do. Responses from local storage
// must not be lost; what peers send may be.
type inbox struct {
	mu    sync.Mutex
	msgs  []*raftpb.Message // bound: maxPeerMessages from peers, plus local responses (raft bounds these)
	spare []*raftpb.Message // the slice that take returned before, to fill again
	peers int               // how many of msgs are from peers
	calls []func()          // bound: one per peer event
}

func (b *inbox) putPeer(m *raftpb.Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peers >= maxPeerMessages {
		return false
	}
	b.peers++
	b.msgs = append(b.msgs, m)
	return true
}

func (b *inbox) putLocal(m *raftpb.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.msgs = append(b.msgs, m)
}

func (b *inbox) putCall(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, f)
}

// take empties the inbox. The messages are valid until the next take.
func (b *inbox) take() ([]*raftpb.Message, []func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	msgs, calls := b.msgs, b.calls
	clear(b.spare)
	b.msgs, b.spare = b.spare[:0], msgs
	b.peers, b.calls = 0, nil
	return msgs, calls
}

// queue passes storage messages, in order, from the loop to one goroutine. It
// is bounded by raft: uncommitted bytes for appends, unapplied bytes for applies.
type queue struct {
	mu   *sync.Mutex
	msgs *[]*raftpb.Message
	wake chan struct{} // capacity 1
}

func newQueue() queue {
	return queue{mu: new(sync.Mutex), msgs: new([]*raftpb.Message), wake: make(chan struct{}, 1)}
}

func (q queue) put(m *raftpb.Message) {
	q.mu.Lock()
	*q.msgs = append(*q.msgs, m)
	q.mu.Unlock()
	poke(q.wake)
}

// poll returns all that waits, perhaps nothing.
func (q queue) poll() []*raftpb.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	msgs := *q.msgs
	*q.msgs = nil
	return msgs
}

// take waits until there is something or ctx ends; then it returns nil.
func (q queue) take(ctx context.Context) []*raftpb.Message {
	for {
		if msgs := q.poll(); len(msgs) > 0 {
			return msgs
		}
		select {
		case <-ctx.Done():
			return nil
		case <-q.wake:
		}
	}
}
