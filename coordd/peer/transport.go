// Package peer carries what members say to each other over gRPC (service
// coordpb.Peer): raft messages, whole stores, and lease questions to the leader.
//
// [Transport] is the calling side, [Server] the answering one. For each other
// member a Transport has one connection with one stream of messages, fed from a
// bounded queue that drops rather than waits: raft repeats what it needs.
// Heartbeats and votes have a lane of their own in it, ahead of log entries.
// Stores travel beside the messages on the same connection; of a store that the
// other member has the beginning of, only what it lacks does.
//
// Who opens a stream says where it is to be reached. A member that was away while
// others moved or came finds them by that, and answers, and so gets the log that
// tells it.
//
//	Send ─┬─ queue ── write ── Messages stream ──────── Server ── Step
//	      └─ one waiting MsgSnap ── StorePosition? ──── Server
//	                             ── InstallSnapshot ─── Server ── snap.Receiver ── StepSnapshot
package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
)

var (
	// ErrUnknownPeer says that a call named a member that was not added.
	ErrUnknownPeer = errors.New("peer: unknown member")
	// ErrStopped says that the transport was stopped.
	ErrStopped = errors.New("peer: transport stopped")
)

// maxCallers bounds the members connected to because they called: who calls is not
// proved to be one.
const maxCallers = 64

// Snapshot is an opened store to be sent. WriteTo is called once at most, Close exactly once.
type Snapshot struct {
	Index, Term uint64
	ConfState   *raftpb.ConfState
	Bytes       int64 // that WriteTo will write, about
	WriteTo     func(io.Writer) (int64, error)
	// Delta returns what a member lacks that holds this, nil if it needs the whole store.
	Delta func(kvcore.Held) *Delta
	Close func()
}

// Delta is part of an opened store. WriteTo is called once at most.
type Delta struct {
	Revisions int64
	WriteTo   func(io.Writer) (int64, error)
}

// Config is what a Transport needs. Every field is required.
type Config struct {
	ClusterID uint64
	MemberID  uint64 // this member
	Logger    *slog.Logger
	TLS       ClientTLS // of calls to https:// and unixs:// URLs
	// URLs are where this member is to be reached, as it tells those it calls.
	URLs func() []string
	// OpenSnapshot opens the newest durable state of the store.
	OpenSnapshot func() (Snapshot, error)
	// SnapshotTimeout is how long a member may make no progress in taking a store
	// before sending it is given up.
	SnapshotTimeout time.Duration
	// ReportUnreachable is told after messages to a member were dropped or its
	// stream broke, once for many. ReportSnapshot is told how each MsgSnap given to
	// Send ended. Neither is called from within Send; both may block, but no longer
	// than until raft has stopped: Add, Remove and Stop may wait for them, so the
	// goroutine that serves the reports must not call those.
	ReportUnreachable func(id uint64)
	ReportSnapshot    func(id uint64, ok bool)
	// Removed is told, perhaps often, when another member says that this one was
	// removed from the cluster. It must not block.
	Removed func()
}

// Transport sends to the other members. It is safe for concurrent use.
type Transport struct {
	config  Config
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	reports *reports

	mu    sync.RWMutex
	peers map[uint64]*sender
}

// New starts a Transport without peers.
func New(c Config) *Transport {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Transport{
		config:  c,
		ctx:     ctx,
		cancel:  cancel,
		reports: newReports(),
		peers:   map[uint64]*sender{},
	}
	t.running.Go(func() { t.reports.run(ctx, c.ReportUnreachable, c.ReportSnapshot) })
	return t
}

// Add begins to connect to the member id at any of its peer URLs. A member that
// is there already with other URLs is connected anew; with the same ones
// nothing happens. The connection comes up in the background.
func (t *Transport) Add(id uint64, urls []string) error {
	return t.connect(id, func(a *addresses) { a.recorded = slices.Clone(urls) })
}

// Called is Add with the URLs that a member gave when it called this one. They
// count beside those of Add: it may have moved, or have become a member, since
// the log that this member has.
func (t *Transport) Called(id uint64, urls []string) error {
	if _, err := t.peer(id); err != nil && len(t.Peers()) >= maxCallers {
		return fmt.Errorf("%w %x, and there are %d others", ErrUnknownPeer, id, maxCallers)
	}
	return t.connect(id, func(a *addresses) { a.told = slices.Clone(urls) })
}

func (t *Transport) connect(id uint64, change func(*addresses)) error {
	old, err := t.replace(id, change)
	if err != nil {
		return fmt.Errorf("peer: add member %x: %w", id, err)
	}
	if old != nil {
		old.stop()
	}
	return nil
}

// replace puts in a new sender unless there is one with these URLs. The old one
// is to be stopped without the lock: it may be reporting to raft, and raft may be in Send.
func (t *Transport) replace(id uint64, change func(*addresses)) (old *sender, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return nil, ErrStopped
	}
	var a addresses
	if old = t.peers[id]; old != nil {
		a = old.addresses
	}
	change(&a)
	urls := a.all()
	if old != nil && slices.Equal(old.urls, urls) {
		old.addresses = a
		return nil, nil
	}
	s, err := newSender(t.ctx, &t.config, t.reports, id, urls)
	if err != nil {
		return nil, err
	}
	s.addresses = a
	t.peers[id] = s
	return old, nil
}

// addresses are where a member is to be reached.
type addresses struct{ recorded, told []string }

func (a addresses) all() []string {
	all := slices.Clone(a.recorded)
	for _, u := range a.told {
		if !slices.Contains(all, u) {
			all = append(all, u)
		}
	}
	return all
}

// Peers returns the members that were added or have called.
func (t *Transport) Peers() []uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Collect(maps.Keys(t.peers))
}

// Remove ends what runs for the member id; messages to it are dropped from now on.
func (t *Transport) Remove(id uint64) {
	t.mu.Lock()
	s := t.peers[id]
	delete(t.peers, id)
	t.mu.Unlock()
	if s != nil {
		s.stop()
	}
}

// Send queues each message for the member in its To and returns at once. The
// messages must stay unchanged for ever, as raft promises of those it hands out:
// they are encoded later. Messages to one member keep their order, except that
// MsgApp and MsgProp give way to all others. A message to a member that was not
// added is dropped.
func (t *Transport) Send(msgs []*raftpb.Message) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, m := range msgs {
		if m.GetType() == raftpb.MsgSnap && t.peers[m.GetTo()] == nil {
			t.reports.snapshotFailed(m.GetTo())
		}
	}
	for _, s := range t.peers {
		s.send(msgs)
	}
}

// ActiveSince is the time from which on the member id has been connected and
// has accepted this member; zero while it is not.
func (t *Transport) ActiveSince(id uint64) time.Time {
	s, err := t.peer(id)
	if err != nil {
		return time.Time{}
	}
	return s.queue.activeSince()
}

// LeaseRenew asks the member to, the leader, to renew a lease, and returns its
// granted time to live in seconds: 0 where the lease does not exist. Errors are gRPC statuses
// (Unavailable where the member cannot be reached or no longer leads) or [ErrUnknownPeer].
func (t *Transport) LeaseRenew(ctx context.Context, to uint64, id int64) (ttlSeconds int64, err error) {
	s, err := t.peer(to)
	if err != nil {
		return 0, err
	}
	r, err := s.client.LeaseRenew(s.withIdentity(ctx), &coordpb.LeaseRenewRequest{Id: id})
	return r.GetTtlSeconds(), err
}

// LeaseTimeToLive asks the member to, the leader, for the seconds a lease has
// left, -1 where it does not exist, and for those it was granted. Errors are as of LeaseRenew.
func (t *Transport) LeaseTimeToLive(ctx context.Context, to uint64, id int64) (remainingSeconds, grantedSeconds int64, err error) {
	s, err := t.peer(to)
	if err != nil {
		return 0, 0, err
	}
	r, err := s.client.LeaseTimeToLive(s.withIdentity(ctx), &coordpb.LeaseTimeToLiveRequest{Id: id})
	return r.GetRemainingTtlSeconds(), r.GetGrantedTtlSeconds(), err
}

// HashKV asks the member to for the checksum of its revision log up to a revision, to which it comes first.
// Of the answer, Hash and CompactRevision are set. Errors are as of LeaseRenew.
func (t *Transport) HashKV(ctx context.Context, to uint64, revision int64) (kvcore.Hash, error) {
	s, err := t.peer(to)
	if err != nil {
		return kvcore.Hash{}, err
	}
	r, err := s.client.HashKV(s.withIdentity(ctx), &coordpb.HashKVRequest{Revision: revision})
	return kvcore.Hash{Hash: r.GetHash(), HashRevision: revision, CompactRevision: r.GetCompactRevision()}, err
}

func (t *Transport) peer(id uint64) (*sender, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if s := t.peers[id]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w %x", ErrUnknownPeer, id)
}

// Stop ends every connection and goroutine, and returns when they are gone.
// Messages sent later are dropped.
func (t *Transport) Stop() {
	t.mu.Lock()
	t.cancel()
	peers := slices.Collect(maps.Values(t.peers))
	clear(t.peers)
	t.mu.Unlock()
	for _, s := range peers {
		s.stop()
	}
	t.running.Wait()
}
