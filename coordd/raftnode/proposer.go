package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	// maxWaiting bounds the requests that wait to be proposed, and their bytes.
	maxWaiting      = 64 << 10
	maxWaitingBytes = 64 << 20
)

// call is one request on its way through the log.
type call struct {
	req     proto.Message
	command []byte // encoded req
	since   time.Time
	batch   *batch             // that it was last proposed with
	result  chan kvcore.Result // capacity 1; gets exactly one value, after which nothing of the call changes
}

// batch is the calls that share one raft entry.
type batch struct {
	sequence uint64
	term     uint64 // in which it was proposed
	calls    []*call

	change                      *raftpb.ConfChange // proposed again until it is applied; nil in other batches
	age                         int                // ticks since change was proposed
	proposed, applying, applied time.Time          // zero until then
}

// proposals are this member's requests: waiting to become an entry, and
// proposed. Many waiting requests become one entry; while the log writer is
// busy with the entry before, more of them gather.
type proposals struct {
	origin uint64 // tells this process's entries from all others

	mu           sync.Mutex
	waiting      []*call // bound: maxWaiting
	waitingBytes int     // bound: maxWaitingBytes
	sequence     uint64  // of the last batch
	proposed     map[uint64]*batch
	changes      []*batch // those of proposed with a change; bound: maxChanges
	closed       error
}

func newProposals(origin uint64) proposals {
	return proposals{origin: origin, proposed: make(map[uint64]*batch)}
}

// Propose replicates a request and returns its response once this member has
// applied it. It fails with ErrTimeout, ErrLeaderChanged, ErrNoLeader,
// ErrTooManyRequests, ErrTooLarge, ErrStopped, the context's error, or what the
// state machine answers. After the first two, ErrStopped and the context's error
// the request may still be applied.
func (n *Node) Propose(ctx context.Context, req proto.Message) (proto.Message, error) {
	command, err := coordpb.EncodeCommand(req)
	if err != nil {
		return nil, err
	}
	c := &call{req: req, command: command, since: time.Now(), result: make(chan kvcore.Result, 1)}
	if err := n.proposals.add(c); err != nil {
		return nil, err
	}
	poke(n.wake)
	select {
	case r := <-c.result:
		timesOf(ctx).note(c)
		if c.batch == nil || c.batch.applied.IsZero() {
			n.metrics.proposalsFailed.Inc()
		}
		return r.Response, r.Err
	case <-ctx.Done():
		timesOf(ctx).Unsettled += time.Since(c.since)
		n.metrics.proposalsFailed.Inc()
		return nil, ctx.Err()
	}
}

func (p *proposals) add(c *call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed != nil:
		return p.closed
	case len(c.command) > maxUncommittedBytes/4:
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(c.command))
	case len(p.waiting) >= maxWaiting || p.waitingBytes+len(c.command) > max(maxWaitingBytes, len(c.command)):
		return ErrTooManyRequests
	}
	p.waiting = append(p.waiting, c)
	p.waitingBytes += len(c.command)
	return nil
}

// proposeWaiting turns waiting requests into entries, while there is a leader
// to take them.
func (n *Node) proposeWaiting() {
	for {
		status := n.raw.BasicStatus()
		if status.Lead == raft.None {
			return
		}
		b, data := n.proposals.next(status.HardState.GetTerm())
		if b == nil {
			return
		}
		if err := n.raw.Propose(data); err != nil {
			n.proposals.putBack(b)
			if !errors.Is(err, raft.ErrProposalDropped) {
				panic(fmt.Sprintf("raftnode: propose: %v", err))
			}
			return // too much is uncommitted, or leadership moves: after the next event
		}
	}
}

// next makes the oldest waiting calls a batch of at most maxMessageBytes (or
// one call), to be proposed in term, and returns it with its entry's data.
func (p *proposals) next(term uint64) (*batch, []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		return nil, nil
	}
	count, size := 0, 0
	for count < len(p.waiting) && (count == 0 || size+len(p.waiting[count].command) <= maxMessageBytes) {
		size += len(p.waiting[count].command)
		count++
	}
	p.sequence++
	b := &batch{sequence: p.sequence, term: term, calls: p.waiting[:count:count], proposed: time.Now()}
	p.waiting = p.waiting[count:]
	p.waitingBytes -= size
	p.proposed[b.sequence] = b

	const headerBytes = 20
	data := coordpb.AppendHeader(make([]byte, 0, headerBytes+size), p.origin, b.sequence)
	for _, c := range b.calls {
		c.batch = b
		data = append(data, c.command...)
	}
	return b, data
}

// putBack makes a batch that raft refused wait again, before all others.
func (p *proposals) putBack(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.proposed, b.sequence)
	for _, c := range b.calls {
		p.waitingBytes += len(c.command)
	}
	p.waiting = append(b.calls, p.waiting...)
}

// take returns a batch that this process proposed, or nil.
func (p *proposals) take(origin, sequence uint64) *batch {
	if origin != p.origin {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.proposed[sequence]
	if b == nil {
		return nil
	}
	delete(p.proposed, sequence)
	return b
}

// expireRequests ends requests that have waited for longer than the request
// timeout. It stands in for a timer a request.
func (n *Node) expireRequests(now time.Time) {
	deadline := now.Add(-n.cfg.RequestTimeout)
	reason := ErrTimeout
	if n.raw.BasicStatus().Lead == raft.None {
		reason = ErrNoLeader
	}
	n.proposals.expire(deadline, reason)
	n.reads.expire(deadline, reason)
}

func (p *proposals) expire(deadline time.Time, reason error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	expired := 0
	for expired < len(p.waiting) && p.waiting[expired].since.Before(deadline) {
		p.waitingBytes -= len(p.waiting[expired].command)
		p.waiting[expired].result <- kvcore.Result{Err: reason}
		expired++
	}
	p.waiting = p.waiting[expired:]
	for sequence, b := range p.proposed {
		// The youngest call decides: its batch is looked for until then.
		if b.calls[len(b.calls)-1].since.Before(deadline) {
			delete(p.proposed, sequence)
			if b.term == neverProposed {
				answer(b.calls, reason)
			} else {
				answer(b.calls, ErrTimeout)
			}
		}
	}
}

// abandon ends the batches that were proposed before term, of which the first
// entry is being applied: all entries of earlier terms that will ever be
// committed have been applied, so these were lost with their leader. (A message
// still under way may yet bring one to the new leader.)
func (p *proposals) abandon(term uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for sequence, b := range p.proposed {
		if b.term < term {
			delete(p.proposed, sequence)
			answer(b.calls, ErrLeaderChanged)
		}
	}
}

// fail ends all requests, present and future.
func (p *proposals) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = err
	answer(p.waiting, err)
	p.waiting = nil
	for _, b := range p.proposed {
		answer(b.calls, err)
	}
	clear(p.proposed)
}

func answer(calls []*call, err error) {
	for _, c := range calls {
		c.result <- kvcore.Result{Err: err}
	}
}
