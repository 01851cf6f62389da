// Package kvcore is the replicated state machine: a multi-version key-value
// store with transactions, leases and watches, whose answers are those of etcd
// v3. It has no goroutine, no clock and no network, and it logs nothing.
//
// One writer at a time feeds it commands in log order. They change an index of
// keys and a tail of encoded records in memory, both readable without a lock;
// Flush moves what has gathered into a backend. The log that the commands come
// from is what makes them durable: after a crash the store is as of its last
// flush, and the log is applied again from there.
package kvcore

import (
	"fmt"
	"sync"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/coordd/coordd/kvcore/auth"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/index"
	"github.com/coordd/coordd/kvcore/lease"
)

// Options bound the memory of a store.
type Options struct {
	// RecentEvents and RecentBytes say how much of the newest history stays in
	// memory for watchers once it is in the backend. Whichever is reached first
	// counts, give or take a chunk of entries.
	RecentEvents int
	RecentBytes  int
}

// Defaults returns the options of a member in production.
func Defaults() Options {
	return Options{RecentEvents: 64 << 10, RecentBytes: 64 << 20}
}

// Store is the state machine.
//
// One goroutine at a time may call Apply, ApplyMembership, CompactStep, Bootstrap,
// Join, Force, Restore and Merge: the writer. Everything else may be called by anyone at any
// time, and does not wait for the writer; Flush and Snapshot wait for each other
// and for Merge.
type Store struct {
	options   Options
	view      atomic.Pointer[view]
	notified  atomic.Int64 // cursors know of everything up to this revision
	leases    *lease.Table
	tokens    auth.Tokens
	members   atomic.Pointer[membership]
	confState atomic.Pointer[raftpb.ConfState]
	forced    atomic.Uint64 // see Force
	epochDue  atomic.Uint64 // see epochDueKey; 0: not due
	alarms    atomic.Pointer[[]*pb.AlarmMember]
	watchers  registry
	unflushed atomic.Int64 // bytes
	compacted atomic.Int64 // the physical compaction up to this revision is done
	counts    counts

	alarmsChanged signal
	compactions   signal // a physical compaction is done

	// flushing is held by Flush, Snapshot and Merge: nobody else commits to the
	// backend while one of them does, or opens what is half done. It comes before mu.
	flushing sync.Mutex

	// mu makes the writer and the two ends of Flush exclude each other. It is
	// not held while the backend commits. It guards everything below.
	mu         sync.Mutex
	tree       *index.Tree
	current    view           // as the writer sees it now; its index may lag behind tree
	stale      bool           // current.index does lag
	txn        index.Revision // of the next change
	arena      arena
	pending    []change // for the backend, beside the tail
	flushed    uint64   // sequence number up to which the tail is in the backend
	recent     int      // bytes of the tail that are flushed
	compaction compaction
	closed     bool
}

// view is the store at one moment. Once published it never changes.
type view struct {
	index    index.Snapshot
	tail     tail
	revision int64
	compact  int64 // -1 before the first compaction, as etcd has it
	applied  position
	auth     *auth.Table
	backend  *generation
}

// position is a place in the replicated log.
type position struct{ index, term uint64 }

// generation is one backend in use. Restore replaces it; the last user closes it.
type generation struct {
	backend.Backend
	users  atomic.Int64
	closed chan struct{}
	err    error // of closing, once closed is
}

func newGeneration(b backend.Backend) *generation {
	g := &generation{Backend: b, closed: make(chan struct{})}
	g.users.Store(1)
	return g
}

// acquire returns false if the generation is closed or about to be.
func (g *generation) acquire() bool {
	for {
		n := g.users.Load()
		if n == 0 {
			return false
		}
		if g.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (g *generation) release() {
	if g.users.Add(-1) == 0 {
		g.err = g.Close()
		close(g.closed)
	}
}

// Open rebuilds the store from what the backend holds. The store owns the
// backend from then on, unless Open fails.
func Open(b backend.Backend, o Options) (*Store, error) {
	st, err := load(b)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o, leases: lease.NewTable()}
	s.adopt(st, newGeneration(b))
	s.markVersion(b)
	s.publish()
	s.notified.Store(s.current.revision)
	return s, nil
}

// adopt makes loaded state the writer's. The caller publishes it.
func (s *Store) adopt(st *loaded, g *generation) {
	s.tree = st.tree
	s.current = view{
		tail:     newTail(st.revision),
		revision: st.revision,
		compact:  st.compact,
		applied:  st.applied,
		auth:     st.auth,
		backend:  g,
	}
	s.stale = true
	s.pending, s.flushed, s.recent = nil, 0, 0
	s.unflushed.Store(0)
	s.compaction = compaction{target: st.scheduled, running: st.scheduled > st.finished}
	s.compacted.Store(st.finished)
	s.compactions.notify()
	s.leases.Reset(st.leases, st.attached)
	s.setMembership(st.members)
	s.forced.Store(st.forced)
	s.epochDue.Store(st.epochDue)
	s.tokens.Clear() // which of them ended on the way is not known
	s.confState.Store(st.confState)
	s.setAlarms(st.alarms)
}

// snapshot brings current.index up to date and returns current.
func (s *Store) snapshot() *view {
	if s.stale {
		s.current.index = s.tree.Snapshot()
		s.stale = false
	}
	return &s.current
}

// publish lets readers see what the writer did.
func (s *Store) publish() {
	v := *s.snapshot()
	s.view.Store(&v)
}

// Applied returns the position of the last command applied.
func (s *Store) Applied() (index, term uint64) {
	p := s.view.Load().applied
	return p.index, p.term
}

// Revision returns the current revision; that of a new store is 1.
func (s *Store) Revision() int64 { return s.view.Load().revision }

// CompactRevision returns the revision the store was last compacted at, -1 if
// it never was. It is the lowest revision that can be read.
func (s *Store) CompactRevision() int64 { return s.view.Load().compact }

// Leases returns the lease table. Grants, revocations and attachments are the
// store's business; deadlines are the caller's.
func (s *Store) Leases() *lease.Table { return s.leases }

// ConfState returns the raft configuration as of Applied, nil if there is none
// yet. It must not be changed.
func (s *Store) ConfState() *raftpb.ConfState { return s.confState.Load() }

// Size returns the bytes the backend takes, and how many of them hold data.
func (s *Store) Size() (total, inUse int64) { return s.view.Load().backend.Size() }

// Close waits for readers and closes the backend. What was not flushed is lost.
// The writer must have stopped. Cursors stay valid, but will see nothing new.
func (s *Store) Close() error {
	s.mu.Lock()
	g, first := s.current.backend, !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		g.release()
	}
	<-g.closed
	if g.err != nil {
		return fmt.Errorf("kvcore: close backend: %w", g.err)
	}
	return nil
}
