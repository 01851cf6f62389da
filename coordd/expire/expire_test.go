package expire_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/coordd/expire"
	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore/lease"
	"github.com/coordd/coordd/proto/coordpb"
	"google.golang.org/protobuf/proto"
)

const self = 7

// node is a member whose leadership the test commands. What is proposed is
// applied to its table at once, unless propose says otherwise.
type node struct {
	table *lease.Table

	mu        sync.Mutex
	status    raftnode.Status
	changed   chan struct{}
	readIndex func(context.Context) error
	propose   func(context.Context) error
	proposed  []*coordpb.LeaseExpireRequest

	checkpoints []*coordpb.LeaseCheckpointRequest
}

func newNode() *node {
	ok := func(context.Context) error { return nil }
	return &node{
		table:     lease.NewTable(),
		status:    raftnode.Status{ID: self},
		changed:   make(chan struct{}),
		readIndex: ok,
		propose:   ok,
	}
}

func (n *node) set(leader, term uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status.Leader, n.status.Term = leader, term
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *node) Status() raftnode.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

func (n *node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

func (n *node) ReadIndex(ctx context.Context) error { return n.readIndex(ctx) }

func (n *node) Propose(ctx context.Context, m proto.Message) (proto.Message, error) {
	if m, ok := m.(*coordpb.LeaseCheckpointRequest); ok {
		return n.proposeCheckpoint(ctx, m)
	}
	request := m.(*coordpb.LeaseExpireRequest)
	n.mu.Lock()
	n.proposed = append(n.proposed, request)
	n.mu.Unlock()
	if err := n.propose(ctx); err != nil {
		return nil, err
	}
	for _, id := range request.Ids {
		n.table.Revoke(lease.ID(id))
	}
	return &coordpb.LeaseExpireResponse{Expired: request.Ids}, nil
}

func (n *node) proposeCheckpoint(ctx context.Context, r *coordpb.LeaseCheckpointRequest) (proto.Message, error) {
	n.mu.Lock()
	n.checkpoints = append(n.checkpoints, r)
	n.mu.Unlock()
	if err := n.propose(ctx); err != nil {
		return nil, err
	}
	for _, c := range r.Checkpoints {
		n.table.Checkpoint(lease.ID(c.Id), c.RemainingTtlSeconds)
	}
	return &coordpb.LeaseCheckpointResponse{}, nil
}

func (n *node) proposals() []*coordpb.LeaseExpireRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.proposed)
}

func (n *node) proposedCheckpoints() []*coordpb.LeaseCheckpointRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.checkpoints)
}

// run drives the node's leases for the rest of the test.
func (n *node) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	driver := expire.Driver{Node: n, Leases: n.table, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
	var running sync.WaitGroup
	running.Go(func() { driver.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func grant(t *testing.T, table *lease.Table, id lease.ID, ttlSeconds int64) {
	t.Helper()
	if err := table.Grant(id, ttlSeconds); err != nil {
		t.Fatal(err)
	}
}

func TestLeaseLivesItsTTLAndNoMuchLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.run(t)
		n.set(self, 3)
		synctest.Wait()
		grant(t, n.table, 1, 5)
		time.Sleep(5*time.Second - time.Millisecond)
		if got := n.proposals(); len(got) != 0 {
			t.Fatalf("proposed %v before the lease's time", got)
		}
		time.Sleep(2 * time.Second)
		got := n.proposals()
		if len(got) != 1 || got[0].Term != 3 || !slices.Equal(got[0].Ids, []int64{1}) {
			t.Fatalf("proposed %v, want lease 1 in term 3", got)
		}
	})
}

func TestRenewedLeaseLivesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.run(t)
		n.set(self, 1)
		synctest.Wait()
		grant(t, n.table, 1, 2)
		for range 10 {
			time.Sleep(time.Second)
			if _, err := n.table.Renew(1, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if got := n.proposals(); len(got) != 0 {
			t.Fatalf("proposed %v though the lease was renewed", got)
		}
	})
}

func TestFollowerExpiresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.run(t)
		n.set(self+1, 1)
		grant(t, n.table, 1, 1)
		time.Sleep(time.Minute)
		if got := n.proposals(); len(got) != 0 {
			t.Fatalf("a follower proposed %v", got)
		}
	})
}

func TestLeaderHoldsNoDeadlinesBeforeItHasCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		caughtUp := make(chan struct{})
		n.readIndex = func(ctx context.Context) error {
			select {
			case <-caughtUp:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		grant(t, n.table, 1, 1)
		n.run(t)
		n.set(self, 1)
		time.Sleep(time.Minute)
		if _, err := n.table.Renew(1, time.Now()); !errors.Is(err, lease.ErrNotPromoted) {
			t.Fatalf("renewal before the leader caught up: %v, want %v", err, lease.ErrNotPromoted)
		}
		close(caughtUp)
		synctest.Wait()
		if _, err := n.table.Renew(1, time.Now()); err != nil {
			t.Fatalf("renewal after the leader caught up: %v", err)
		}
	})
}

func TestDeposedLeaderForgetsDeadlinesThoughAProposalHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.propose = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		n.run(t)
		n.set(self, 1)
		synctest.Wait()
		grant(t, n.table, 1, 1)
		grant(t, n.table, 2, 1000)
		time.Sleep(10 * time.Second)
		if len(n.proposals()) != 1 {
			t.Fatal("the lease that is due was not proposed")
		}
		n.set(self+1, 2)
		synctest.Wait()
		if _, err := n.table.Renew(2, time.Now()); !errors.Is(err, lease.ErrNotPromoted) {
			t.Fatalf("renewal on a deposed leader: %v, want %v", err, lease.ErrNotPromoted)
		}
	})
}

func TestFailedProposalIsRepeatedAndItsLeasesStayExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		fails := 3
		n.propose = func(context.Context) error {
			if fails--; fails >= 0 {
				return raftnode.ErrTimeout
			}
			return nil
		}
		n.run(t)
		n.set(self, 1)
		synctest.Wait()
		grant(t, n.table, 1, 1)
		time.Sleep(1600 * time.Millisecond) // due at 1.5 s at the latest
		if _, err := n.table.Renew(1, time.Now()); !errors.Is(err, lease.ErrNotFound) {
			t.Fatalf("renewal of a lease whose end is proposed: %v, want %v", err, lease.ErrNotFound)
		}
		time.Sleep(5 * time.Second)
		if got := n.proposals(); len(got) != 4 {
			t.Fatalf("%d proposals, want 4: three that fail and one more", len(got))
		}
		if _, ok := n.table.Lookup(1); ok {
			t.Fatal("the lease is still there")
		}
	})
}

func TestManyLeasesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const leases, bound = 12_500, 5000
		n := newNode()
		for id := range lease.ID(leases) {
			grant(t, n.table, id+1, 1)
		}
		n.run(t)
		n.set(self, 1)
		time.Sleep(2 * time.Second)
		got := n.proposals()
		if len(got) != 3 {
			t.Fatalf("%d proposals, want 3", len(got))
		}
		for _, p := range got {
			if len(p.Ids) > bound {
				t.Errorf("%d leases in one proposal, want at most %d", len(p.Ids), bound)
			}
		}
		if left := n.table.List(); len(left) != 0 {
			t.Fatalf("%d leases are left", len(left))
		}
	})
}

// A leader records how much leases have left, many in an entry, and the next goes on from there.
func TestCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const leases, bound = 2500, 1000
		n := newNode()
		for id := range lease.ID(leases) {
			grant(t, n.table, id+1, 100)
		}
		n.run(t)
		n.set(self, 1)
		time.Sleep(60 * time.Second)
		got := n.proposedCheckpoints()
		if len(got) != 3 {
			t.Fatalf("%d proposals, want 3", len(got))
		}
		for _, r := range got {
			if r.Term != 1 || len(r.Checkpoints) > bound {
				t.Errorf("%d leases in a proposal of term %d", len(r.Checkpoints), r.Term)
			}
			for _, c := range r.Checkpoints {
				if c.RemainingTtlSeconds < 49 || c.RemainingTtlSeconds > 50 {
					t.Fatalf("lease %d has %d s left", c.Id, c.RemainingTtlSeconds)
				}
			}
		}
		n.set(self+1, 2)
		synctest.Wait()
		n.set(self, 3)
		time.Sleep(48 * time.Second)
		if got := n.proposals(); len(got) != 0 {
			t.Fatal("leases ended before their time")
		}
		time.Sleep(3 * time.Second)
		if left := n.table.List(); len(left) != 0 {
			t.Fatalf("%d leases are left", len(left))
		}
	})
}

func TestFailedCheckpointIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		fails := 2
		n.propose = func(context.Context) error {
			if fails--; fails >= 0 {
				return raftnode.ErrTimeout
			}
			return nil
		}
		grant(t, n.table, 1, 100)
		n.run(t)
		n.set(self, 1)
		time.Sleep(60 * time.Second)
		if got := n.proposedCheckpoints(); len(got) != 3 {
			t.Fatalf("%d proposals, want 3: two that fail and one more", len(got))
		}
		if _, shortened, proposing := n.table.Shortened(1); !shortened || proposing != nil {
			t.Errorf("shortened %t, proposing %v", shortened, proposing)
		}
	})
}
